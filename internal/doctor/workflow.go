package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
	"gopkg.in/yaml.v3"
)

// A workflow is a GitHub workflow, with what the rules ask of it worked out.
type workflow struct {
	path  string
	lines []string // of the file, without newlines
	ast   *actionlint.Workflow
	jobs  []*job          // in the file's order
	byID  map[string]*job // by lower-case ID
	env   map[string]variable
	// publishes says that a job publishes to npm, itself or in what it calls.
	publishes   bool
	expressions int // judged so far
}

// A job is a job of a workflow.
type job struct {
	w    *workflow
	id   string
	line int
	ast  *actionlint.Job
	env  map[string]variable
	// steps holds the job's own steps and, in their place, those of local composite actions.
	steps []*step
	// publishes are its steps that publish to npm's registry; elsewhere those that publish to another.
	publishes, elsewhere []*publishStep
	// callee is the local workflow that the job calls, nil otherwise.
	callee *workflow
	needed map[*job]bool // memo of before
	token  *foundToken   // memo of checker.token
}

type foundToken struct {
	name string
	v    variable
	ok   bool
}

// A variable is an environment variable's value and where it is set.
type variable struct {
	value string
	line  int
}

// A step is a step of a job.
type step struct {
	file     string // the workflow, or the composite action
	line     int
	name     string
	env      map[string]variable
	dir      string // working-directory, "" where not set
	uses     string // an action, "" for a script
	usesLine int
	with     map[string]variable // inputs of the action, by lower-case name
	script   string
	runLine  int // of the script's first line
	folded   bool
	commands []command
	action   bool // a step of a composite action
	// caller is the step that uses the composite action, and inputs the action's own defaults by lower-case name.
	caller *step
	inputs map[string]string
}

// at returns the line of a command in the step's file.
func (s *step) at(c command) int {
	if s.folded {
		return s.line
	}
	return s.runLine + c.line
}

func (c *checker) loadWorkflow(name string, data []byte) {
	ast, err := parseWorkflow(data)
	if err != nil {
		c.add(Finding{Rule: "file-unreadable", File: name, Line: 1, Message: err.Error()})
		return
	}
	if len(ast.Jobs) > maxJobs {
		c.add(Finding{Rule: "file-unreadable", File: name, Line: 1, Message: fmt.Sprintf("reading %s: has more than %d jobs", name, maxJobs)})
		return
	}
	w := &workflow{path: name, lines: splitLines(data), ast: ast, env: variables(ast.Env)}
	for id, j := range ast.Jobs {
		if j == nil {
			continue
		}
		jb := &job{w: w, id: id, ast: j, env: variables(j.Env)}
		if j.ID != nil {
			jb.id = j.ID.Value
		}
		if j.Pos != nil {
			jb.line = j.Pos.Line
		}
		for _, s := range j.Steps {
			if s == nil {
				continue
			}
			st := c.newStep(w, j, s)
			jb.steps = append(jb.steps, st)
			jb.steps = append(jb.steps, c.compositeSteps(st)...)
		}
		w.jobs = append(w.jobs, jb)
	}
	slices.SortFunc(w.jobs, func(a, b *job) int { return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.id, b.id)) })
	w.byID = map[string]*job{}
	for _, j := range w.jobs {
		w.byID[strings.ToLower(j.id)] = j
	}
	c.workflows = append(c.workflows, w)
}

func splitLines(data []byte) []string { return strings.Split(string(data), "\n") }

func variables(e *actionlint.Env) map[string]variable {
	m := map[string]variable{}
	if e == nil {
		return m
	}
	for name, v := range e.Vars {
		if v == nil || v.Value == nil {
			continue
		}
		if v.Name != nil {
			name = v.Name.Value
		}
		m[name] = variable{v.Value.Value, lineOf(v.Name, v.Value)}
	}
	return m
}

// lineOf returns the line of the first string that has one.
func lineOf(strings ...*actionlint.String) int {
	for _, s := range strings {
		if s != nil && s.Pos != nil {
			return s.Pos.Line
		}
	}
	return 0
}

func value(s *actionlint.String) string {
	if s == nil {
		return ""
	}
	return s.Value
}

func (c *checker) newStep(w *workflow, j *actionlint.Job, s *actionlint.Step) *step {
	st := &step{file: w.path, name: value(s.Name), env: variables(s.Env)}
	if s.Pos != nil {
		st.line = s.Pos.Line
	}
	switch e := s.Exec.(type) {
	case *actionlint.ExecAction:
		st.uses, st.usesLine, st.with = value(e.Uses), lineOf(e.Uses), map[string]variable{}
		for name, in := range e.Inputs {
			if in != nil {
				st.with[strings.ToLower(name)] = variable{value(in.Value), lineOf(in.Name, in.Value)}
			}
		}
	case *actionlint.ExecRun:
		st.script, st.dir = value(e.Run), value(e.WorkingDirectory)
		for _, d := range []*actionlint.Defaults{j.Defaults, w.ast.Defaults} {
			if st.dir == "" && d != nil && d.Run != nil {
				st.dir = value(d.Run.WorkingDirectory)
			}
		}
		if e.Run != nil && e.Run.Pos != nil {
			st.place(w.lines, e.Run.Pos.Line, e.Run.Pos.Col)
		}
		st.commands = commands(st.script)
	}
	return st
}

// place works out where the script's lines are, from where YAML says that its scalar begins.
func (s *step) place(lines []string, line, col int) {
	s.runLine = line
	if line < 1 || line > len(lines) || col < 1 || col > len(lines[line-1]) {
		return
	}
	switch rest := lines[line-1][col-1:]; {
	case strings.HasPrefix(rest, "|"):
		s.runLine++
	case strings.HasPrefix(rest, ">"):
		s.runLine++
		s.folded = true
		s.line = s.runLine
	}
}

// A composite is a local composite action's steps.
type composite struct{ steps []*step }

// compositeSteps returns the steps of the local composite action that a step uses.
func (c *checker) compositeSteps(st *step) []*step {
	dir, ok := localAction(st.uses)
	if !ok || st.action {
		return nil
	}
	if done, ok := c.composite[dir]; ok {
		return done.calledBy(st)
	}
	if c.composite == nil {
		c.composite = map[string]*composite{}
	}
	a := &composite{}
	c.composite[dir] = a
	for _, name := range []string{"action.yml", "action.yaml"} {
		file := path.Join(dir, name)
		data, err := c.read(file)
		if err != nil {
			continue
		}
		docs, err := parseYAML(data)
		if err != nil || len(docs) == 0 || len(docs[0].Content) == 0 {
			c.add(Finding{Rule: "file-unreadable", File: file, Line: 1, Message: file + " could not be parsed"})
			continue
		}
		runs, _ := field(docs[0].Content[0], "runs")
		steps, _ := field(runs, "steps")
		if steps == nil || steps.Kind != yaml.SequenceNode {
			break
		}
		lines := splitLines(data)
		defaults := map[string]string{}
		if inputs, _ := field(docs[0].Content[0], "inputs"); inputs != nil && inputs.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(inputs.Content); i += 2 {
				v, _ := field(inputs.Content[i+1], "default")
				defaults[strings.ToLower(inputs.Content[i].Value)] = text(v)
			}
		}
		for _, n := range steps.Content {
			s := compositeStep(file, lines, n)
			s.inputs = defaults
			a.steps = append(a.steps, s)
		}
		break
	}
	return a.calledBy(st)
}

// calledBy returns the action's steps as one step's use of it.
func (a *composite) calledBy(caller *step) []*step {
	steps := make([]*step, 0, len(a.steps))
	for _, s := range a.steps {
		s := *s
		s.caller = caller
		steps = append(steps, &s)
	}
	return steps
}

// input returns an input of the composite action as the caller sets it, or its default.
func (s *step) input(name string) string {
	if v, ok := s.caller.with[strings.ToLower(name)]; ok {
		return v.value
	}
	return s.inputs[strings.ToLower(name)]
}

func compositeStep(file string, lines []string, n *yaml.Node) *step {
	st := &step{file: file, line: n.Line, action: true, env: map[string]variable{}, with: map[string]variable{}}
	name, _ := field(n, "name")
	st.name = text(name)
	uses, line := field(n, "uses")
	st.uses, st.usesLine = text(uses), line
	dir, _ := field(n, "working-directory")
	st.dir = text(dir)
	for key, m := range map[string]map[string]variable{"env": st.env, "with": st.with} {
		v, _ := field(n, key)
		if v == nil || v.Kind != yaml.MappingNode {
			continue
		}
		for i := 0; i+1 < len(v.Content); i += 2 {
			name := v.Content[i].Value
			if key == "with" {
				name = strings.ToLower(name)
			}
			m[name] = variable{text(v.Content[i+1]), v.Content[i].Line}
		}
	}
	if run, _ := field(n, "run"); run != nil {
		st.script = text(run)
		st.place(lines, run.Line, run.Column)
		st.commands = commands(st.script)
	}
	return st
}

// localAction returns the directory of an action in the same repository.
func localAction(uses string) (dir string, ok bool) {
	for _, prefix := range []string{"./", "$/"} {
		if rest, ok := strings.CutPrefix(uses, prefix); ok {
			dir := path.Clean(rest)
			return dir, dir != "." && !strings.HasPrefix(dir, "..")
		}
	}
	return "", false
}

// permission returns the level of a scope ("write", "read", "none") that a permissions block gives, and
// whether it says so at all. What a block does not name is none.
func permission(p *actionlint.Permissions, scope string) (level string, stated bool) {
	if p == nil {
		return "", false
	}
	if all := value(p.All); all != "" {
		switch all {
		case "write-all":
			return "write", true
		case "read-all":
			if scope == "id-token" {
				return "none", true
			}
			return "read", true
		}
		return "none", true
	}
	if s, ok := p.Scopes[scope]; ok && s != nil {
		return value(s.Value), true
	}
	return "none", true
}

// permission returns the level of a scope in the job: its own block replaces the workflow's. Where neither is
// there it reports false: the repository's default counts, which never has id-token.
func (j *job) permission(scope string) (level string, stated bool) {
	if level, ok := permission(j.ast.Permissions, scope); ok {
		return level, true
	}
	return permission(j.w.ast.Permissions, scope)
}

// hasIDToken reports whether the job may get identity tokens by its own and its workflow's word.
func (j *job) hasIDToken() bool {
	level, _ := j.permission("id-token")
	return level == "write"
}

// callable reports whether the workflow can be called, and whether anything else can start it.
func (w *workflow) callable() (called, started bool) {
	for _, e := range w.ast.On {
		if e == nil {
			continue
		}
		if e.EventName() == "workflow_call" {
			called = true
		} else {
			started = true
		}
	}
	return called, started
}

func (w *workflow) webhook(name string) *actionlint.WebhookEvent {
	for _, e := range w.ast.On {
		if h, ok := e.(*actionlint.WebhookEvent); ok && h != nil && h.Hook != nil && h.Hook.Value == name {
			return h
		}
	}
	return nil
}

// eventLine returns the line where an event is named.
func (w *workflow) eventLine(name string) int {
	for _, e := range w.ast.On {
		switch e := e.(type) {
		case *actionlint.WebhookEvent:
			if e.Hook != nil && e.Hook.Value == name {
				return lineOf(e.Hook)
			}
		}
	}
	return 1
}

func (w *workflow) job(id string) *job { return w.byID[strings.ToLower(id)] }

// before returns the jobs that j needs, directly or not.
func (j *job) before() map[*job]bool {
	if j.needed != nil {
		return j.needed
	}
	all := map[*job]bool{}
	j.needed = all
	queue := []*job{j}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, n := range next.ast.Needs {
			if b := next.w.job(value(n)); b != nil && b != j && !all[b] {
				all[b] = true
				queue = append(queue, b)
			}
		}
	}
	return all
}

// lookup returns the first variable that matches, by name within each environment.
func lookup(vars []map[string]variable, match func(name string) bool) (name string, v variable, ok bool) {
	for _, m := range vars {
		for _, n := range slices.Sorted(maps.Keys(m)) {
			if match(n) {
				return n, m[n], true
			}
		}
	}
	return "", variable{}, false
}

// lookup returns a variable as a step sees it: the step's own, the job's, the workflow's.
func (j *job) lookup(s *step, match func(name string) bool) (name string, v variable, ok bool) {
	return lookup([]map[string]variable{s.env, j.env, j.w.env}, match)
}

var secretPattern = regexp.MustCompile(`(?i)\$\{\{[^}]*\bsecrets\s*(?:\.\s*|\[\s*')([A-Za-z0-9_]+)`)

// secretName returns the secret that an expression names, "" for none and for the run's own GITHUB_TOKEN.
func secretName(value string) string {
	for _, m := range secretPattern.FindAllStringSubmatch(value, 20) {
		if !strings.EqualFold(m[1], "GITHUB_TOKEN") {
			return m[1]
		}
	}
	return ""
}
