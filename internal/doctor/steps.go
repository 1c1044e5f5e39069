package doctor

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

// Template injection.

// checkInjection finds expressions in a script whose value somebody else may choose.
func (c *checker) checkInjection(j *job, s *step) {
	script, line := s.script, s.runLine
	if isAction(s.uses, "actions/github-script") {
		in := s.with["script"]
		script, line = in.value, in.line
	}
	if script == "" || !strings.Contains(script, "${{") {
		return
	}
	var names []string
	level, first := Warn, 0
	for at := 0; ; {
		i := strings.Index(script[at:], "${{")
		if i < 0 || j.w.expressions == maxExpr {
			break
		}
		j.w.expressions++
		i += at
		end := strings.Index(script[i:], "}}")
		if end < 0 {
			break
		}
		at = i + end + 2
		expression := strings.TrimSpace(script[i+3 : i+end])
		sources := j.untrusted(s, expression)
		if len(sources) == 0 {
			continue
		}
		if first == 0 {
			first = line
			if s.uses == "" && !s.folded {
				first += strings.Count(script[:i], "\n")
			}
		}
		for _, source := range sources {
			if i := strings.Index(strings.ToLower(expression), source.name); i >= 0 && i+len(source.name) <= len(expression) {
				source.name = expression[i : i+len(source.name)] // as it is written
			}
			if !slices.Contains(names, source.name) {
				names = append(names, source.name)
			}
			if source.outsider {
				level = Error
			}
		}
	}
	if len(names) == 0 {
		return
	}
	shown := names
	if len(shown) > 4 {
		shown = append(slices.Clone(names[:4]), fmt.Sprintf("%d more", len(names)-4))
	}
	variable := strings.ToUpper(names[0][strings.LastIndexByte(names[0], '.')+1:])
	variable = strings.NewReplacer("-", "_", "*", "VALUES", "'", "", "[", "", "]", "").Replace(variable)
	c.add(Finding{Rule: "template-injection", Level: level, File: s.file, Line: first, Job: j.id,
		Message: "pasted into a script: " + strings.Join(shown, ", "),
		Fix:     fmt.Sprintf("env:\n  %s: ${{ %s }}\nrun: … \"$%s\"", variable, names[0], variable)})
}

// A source is a value in an expression that somebody else may choose.
type source struct {
	name     string
	outsider bool // somebody without write access to the repository
}

// untrusted returns the values in an expression that may hold any text.
func (j *job) untrusted(s *step, expression string) (sources []source) {
	if len(expression) > 4000 || strings.Count(expression, "(") > 200 {
		return []source{{name: expression[:min(len(expression), 40)]}}
	}
	node, err := actionlint.NewExprParser().Parse(actionlint.NewExprLexer(expression + "}}"))
	if err != nil {
		return nil // GitHub will refuse it
	}
	return j.untrustedIn(s, node, 0)
}

// untrustedIn walks the parts of an expression that its value can come from: not a comparison's sides, not
// the condition before &&.
func (j *job) untrustedIn(s *step, node actionlint.ExprNode, depth int) []source {
	if depth > 100 {
		return nil
	}
	switch n := node.(type) {
	case *actionlint.LogicalOpNode:
		right := j.untrustedIn(s, n.Right, depth+1)
		if n.Kind == actionlint.LogicalOpNodeKindAnd {
			return right
		}
		return append(j.untrustedIn(s, n.Left, depth+1), right...)
	case *actionlint.CompareOpNode, *actionlint.NotOpNode:
		return nil
	case *actionlint.FuncCallNode:
		switch strings.ToLower(n.Callee) {
		case "contains", "startswith", "endswith", "hashfiles", "success", "failure", "always", "cancelled":
			return nil
		}
		var all []source
		for _, a := range n.Args {
			all = append(all, j.untrustedIn(s, a, depth+1)...)
		}
		return all
	}
	name := contextName(node, 0)
	if name == "" || j.trustedValue(s, name) {
		return nil
	}
	return []source{{name, fromOutside(name) && j.startedByOutsiders()}}
}

// contextName writes a dereference as a dotted path in lower case, "" for a literal.
func contextName(node actionlint.ExprNode, depth int) string {
	if depth > 50 {
		return ""
	}
	join := func(receiver actionlint.ExprNode, property string) string {
		if r := contextName(receiver, depth+1); r != "" {
			return r + "." + property
		}
		return ""
	}
	switch n := node.(type) {
	case *actionlint.VariableNode:
		return strings.ToLower(n.Name)
	case *actionlint.ObjectDerefNode:
		return join(n.Receiver, strings.ToLower(n.Property))
	case *actionlint.ArrayDerefNode:
		return join(n.Receiver, "*")
	case *actionlint.IndexAccessNode:
		if s, ok := n.Index.(*actionlint.StringNode); ok {
			return join(n.Operand, strings.ToLower(s.Value))
		}
		return join(n.Operand, "*")
	case *actionlint.FuncCallNode: // fromJSON(x).y
		for _, a := range n.Args {
			if name := contextName(a, depth+1); name != "" {
				return name
			}
		}
	}
	return ""
}

// plainGitHub are the properties of github that hold no free text.
var plainGitHub = set("action action_path action_ref action_repository actor_id api_url base_sha event_name event_path graphql_url job job_workflow_sha path ref_protected ref_type repository repository_id repository_owner repository_owner_id repositoryurl retention_days run_attempt run_id run_number secret_source server_url sha token workflow_ref workflow_sha workspace")

// plainEvent ends the paths under github.event that hold no free text.
var plainEvent = regexp.MustCompile(`(^|[._])(id|number|sha|merged|action|created_at|updated_at|full_name|default_branch|html_url|url|node_id|merge_commit_sha|draft|before|after|size|type|login)$|^github\.event\.repository\.|^github\.event\.(organization|installation|schedule)`)

// trustedValue reports whether a context's value cannot be chosen freely by anybody but the repository's own
// maintainers.
func (j *job) trustedValue(s *step, name string) bool {
	parts := strings.Split(name, ".")
	last := parts[len(parts)-1]
	switch parts[0] {
	case "runner", "strategy", "job", "secrets", "vars", "jobs":
		return true
	case "matrix":
		return j.staticMatrix()
	case "github":
		if len(parts) < 2 {
			return false
		}
		if parts[1] != "event" {
			return plainGitHub[parts[1]]
		}
		if len(parts) > 3 && parts[2] == "inputs" {
			return j.choiceInput(parts[3])
		}
		return plainEvent.MatchString(name) && !fromOutside(name)
	case "inputs":
		if s.caller != nil && len(parts) > 1 {
			return !strings.Contains(s.input(parts[1]), "${{")
		}
		return len(parts) > 1 && j.choiceInput(parts[1])
	case "env":
		if len(parts) < 2 {
			return false
		}
		// A variable that the workflow sets to a literal is as good as the literal; GITHUB_ENV may set others.
		_, v, ok := j.lookup(s, func(n string) bool { return strings.EqualFold(n, parts[1]) })
		if !ok {
			return false
		}
		if expression, is := wholeExpression(v.value); is {
			return !strings.Contains(strings.ToLower(expression), "env.") && len(j.untrusted(s, expression)) == 0
		}
		return !strings.Contains(v.value, "${{")
	case "needs":
		return last == "result"
	case "steps":
		return last == "outcome" || last == "conclusion" || last == "cache-hit" || strings.HasSuffix(last, "artifact-id")
	}
	return false
}

// wholeExpression returns the expression that a value consists of.
func wholeExpression(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "${{") && strings.HasSuffix(s, "}}") && strings.Count(s, "${{") == 1 {
		return strings.TrimSpace(s[3 : len(s)-2]), true
	}
	return "", false
}

// staticMatrix reports whether the job's matrix is written out in the workflow.
func (j *job) staticMatrix() bool {
	if j.ast.Strategy == nil || j.ast.Strategy.Matrix == nil {
		return true
	}
	m := j.ast.Strategy.Matrix
	if m.Expression != nil {
		return false
	}
	for _, r := range m.Rows {
		if r != nil && r.Expression != nil {
			return false
		}
	}
	return m.Include == nil || !m.Include.ContainsExpression()
}

// choiceInput reports whether an input takes one of some fixed values only, wherever it comes from.
func (j *job) choiceInput(name string) bool {
	known := false
	for _, e := range j.w.ast.On {
		switch e := e.(type) {
		case *actionlint.WorkflowDispatchEvent:
			for id, in := range e.Inputs {
				if in == nil || !strings.EqualFold(id, name) {
					continue
				}
				switch in.Type {
				case actionlint.WorkflowDispatchEventInputTypeBoolean, actionlint.WorkflowDispatchEventInputTypeChoice, actionlint.WorkflowDispatchEventInputTypeNumber:
					known = true
				default:
					return false
				}
			}
		case *actionlint.WorkflowCallEvent:
			for _, in := range e.Inputs {
				if in == nil || !strings.EqualFold(in.ID, name) {
					continue
				}
				if in.Type != actionlint.WorkflowCallEventInputTypeBoolean && in.Type != actionlint.WorkflowCallEventInputTypeNumber {
					return false
				}
				known = true
			}
		}
	}
	return known
}

// fromOutside reports whether somebody without write access can choose the value.
func fromOutside(name string) bool {
	if name == "github.head_ref" {
		return true
	}
	var m *actionlint.UntrustedInputMap
	for i, part := range strings.Split(name, ".") {
		if i == 0 {
			m = actionlint.BuiltinUntrustedInputs[part]
		} else {
			next := m.Children[part]
			if next == nil {
				next = m.Children["*"]
			}
			m = next
		}
		if m == nil {
			return false
		}
	}
	return name != "github"
}

func (j *job) startedByOutsiders() bool {
	return slices.ContainsFunc(j.w.ast.On, func(e actionlint.Event) bool {
		if e == nil {
			return false
		}
		_, ok := outsiders[e.EventName()]
		return ok && !excludesEvent(value(j.ast.If), e.EventName())
	})
}

// Caches.

// cacheActions restore a cache whatever their inputs are.
var cacheActions = regexp.MustCompile(`(?i)^(actions/cache(/restore)?|buildjet/cache|swatinem/rust-cache|nrwl/nx-set-shas/cache|ubicloud/cache|runs-on/cache|namespacelabs/nscloud-cache-action)@`)

func (c *checker) checkCache(j *job, s *step) {
	if s.uses == "" {
		return
	}
	if cacheActions.MatchString(s.uses) {
		c.add(Finding{Rule: "cache-in-publish", File: s.file, Line: s.usesLine, Job: j.id, Message: s.uses[:strings.IndexByte(s.uses, '@')] + " restores a cache", Fix: "Delete the step."})
		return
	}
	base, _, _ := strings.Cut(s.uses, "@")
	if v, ok := s.with["cache"]; ok && v.value != "" && v.value != "false" && strings.Contains(strings.ToLower(base), "setup") {
		f := Finding{Rule: "cache-in-publish", File: s.file, Line: v.line, Job: j.id, Message: fmt.Sprintf("%s restores a cache (cache: %s)", base, v.value)}
		if strings.Contains(v.value, "${{") && strings.Contains(v.value, "&&") {
			f.Level = Info // its condition is for the run to decide
		}
		replacement := "cache: false"
		if isAction(s.uses, "actions/setup-node") {
			replacement = "package-manager-cache: false"
			if _, has := s.with["package-manager-cache"]; has {
				f.Fix = "Delete the line."
				c.add(f)
				return
			}
		}
		f.Fix = replacement
		f.edits = j.w.replaceLine(s.file, v.line, "cache", v.value, replacement)
		c.add(f)
	}
}

// Tools and installs.

var exactVersion = regexp.MustCompile(`^v?\d+\.\d+\.\d+([-+].*)?$`)

// checkTools finds tools that are installed without a fixed version.
func (c *checker) checkTools(j *job, s *step) {
	for _, cmd := range s.commands {
		for _, what := range unpinnedTools(cmd.words) {
			c.add(Finding{Rule: "unpinned-tool", File: s.file, Line: s.at(cmd), Job: j.id, Message: what})
		}
	}
	for _, name := range []string{"bun-version", "deno-version", "version", "pnpm-version", "go-version"} {
		v, ok := s.with[name]
		base, _, _ := strings.Cut(s.uses, "@")
		if ok && strings.Contains(strings.ToLower(base), "setup") && (v.value == "latest" || v.value == "canary" || v.value == "next") {
			c.add(Finding{Rule: "unpinned-tool", File: s.file, Line: v.line, Job: j.id, Message: fmt.Sprintf("%s installs whatever is %s", base, v.value)})
		}
	}
}

// unpinnedTools names what a command installs or runs without a fixed version.
func unpinnedTools(words []string) (found []string) {
	for len(words) > 1 && (words[0] == "sudo" || words[0] == "command") {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	args := arguments(words[1:])
	global := slices.Contains(words, "-g") || slices.Contains(words, "--global") || slices.ContainsFunc(words, func(w string) bool { return w == "--location=global" })
	check := func(spec string, verb string) {
		at := strings.LastIndex(spec, "@")
		switch {
		case strings.ContainsAny(spec, "$<>") || strings.HasPrefix(spec, ".") || strings.HasPrefix(spec, "/") || strings.Contains(spec, "://"):
		case at <= 0:
			found = append(found, fmt.Sprintf("%s %s without a version", verb, spec))
		case !exactVersion.MatchString(spec[at+1:]):
			found = append(found, fmt.Sprintf("%s %s, which is no fixed version", verb, spec))
		}
	}
	switch path.Base(words[0]) {
	case "npm", "pnpm", "bun", "yarn":
		if len(args) == 0 {
			return nil
		}
		if words[0] == "yarn" && args[0] == "global" {
			global, args = true, args[1:]
		}
		switch {
		case len(args) > 1 && global && (args[0] == "install" || args[0] == "i" || args[0] == "add" || args[0] == "update" || args[0] == "upgrade" || args[0] == "in"):
			for _, spec := range args[1:] {
				check(spec, "installs")
			}
		case len(args) > 1 && args[0] == "dlx" || words[0] == "bun" && len(args) > 1 && args[0] == "x" && strings.Contains(args[1], "@latest"):
			check(args[1], "runs")
		case args[0] == "self-update":
			found = append(found, "updates pnpm itself")
		}
	case "npx", "bunx", "pnpx":
		// Without a version it runs what the lockfile installed, if that is there; a moving tag never does.
		for _, spec := range args[:min(1, len(args))] {
			if at := strings.LastIndex(spec, "@"); at > 0 && !exactVersion.MatchString(spec[at+1:]) && !strings.ContainsAny(spec, "$") {
				check(spec, "runs")
			}
		}
	case "corepack":
		if len(args) > 1 && (args[0] == "prepare" || args[0] == "install" || args[0] == "use" || args[0] == "up") {
			for _, spec := range args[1:] {
				check(spec, "installs")
			}
		}
	case "curl", "wget":
		// curl … | bash is two commands; the next one is judged by itself
	}
	return found
}

// checkInstall finds installs of dependencies that do not hold to the lockfile.
func (c *checker) checkInstall(j *job, s *step) {
	for _, cmd := range s.commands {
		level, message, from, to := c.unlocked(cmd.words)
		if message == "" {
			continue
		}
		f := Finding{Rule: "unlocked-install", Level: level, File: s.file, Line: s.at(cmd), Job: j.id, Message: message, Fix: to}
		if c.lockedFor(to) && j.atRoot(s) && !elsewhere(cmd.words) {
			f.edits = j.w.replaceOnce(s.file, s.at(cmd), from, to)
		}
		c.add(f)
	}
}

// atRoot reports whether a step's commands run at the root of the project, as far as the workflow shows.
func (j *job) atRoot(s *step) bool {
	moved := slices.ContainsFunc(s.commands, func(c command) bool {
		return len(c.words) > 0 && (c.words[0] == "cd" || c.words[0] == "pushd" || c.words[0] == "Set-Location")
	})
	return s.dir == "" && !moved && !slices.ContainsFunc(j.steps, func(s *step) bool {
		return isAction(s.uses, "actions/checkout") && (s.with["path"].value != "" || s.with["repository"].value != "")
	})
}

// elsewhere reports whether an install looks at another directory, or at no lockfile.
func elsewhere(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		switch name, _, _ := strings.Cut(w, "="); name {
		case "--prefix", "-C", "--dir", "--cwd", "--package-lock", "--no-package-lock", "--package-lock-only", "--lockfile-only", "--no-lockfile", "--lockfile-dir":
			return true
		}
		return false
	})
}

// lockedFor reports whether the lockfile is there that the command needs.
func (c *checker) lockedFor(command string) bool {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return c.manifests.files[n] })
	}
	switch {
	case strings.HasPrefix(command, "npm ci"):
		return has("package-lock.json", "npm-shrinkwrap.json")
	case strings.HasPrefix(command, "bun install"):
		return has("bun.lock", "bun.lockb")
	case strings.HasPrefix(command, "pnpm install"):
		return has("pnpm-lock.yaml")
	}
	return false
}

// unlocked judges an install. from and to are the words to replace in the line.
func (c *checker) unlocked(words []string) (level Level, message, from, to string) {
	if len(words) > 1 && words[0] == "corepack" {
		words = words[1:]
	}
	if len(words) == 0 {
		return "", "", "", ""
	}
	args := arguments(words[1:])
	if slices.Contains(words, "-g") || slices.Contains(words, "--global") {
		return "", "", "", ""
	}
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	install := verb == "install" || verb == "i" || verb == "in"
	frozen := func() bool {
		for _, f := range []string{"frozen-lockfile", "immutable"} {
			if v, ok := hasFlag(words, f); ok {
				return v != "false"
			}
		}
		return false
	}
	off := func() bool { v, ok := hasFlag(words, "frozen-lockfile"); return ok && v == "false" }
	project := c.manifests.root != nil
	switch words[0] {
	case "npm":
		if install && len(args) == 1 && !slices.Contains(words, "--dry-run") {
			return Warn, "npm install may change what the lockfile says", "npm " + verb, "npm ci"
		}
	case "pnpm":
		if !install || len(args) > 1 {
			return "", "", "", ""
		}
		switch {
		case off():
			return Warn, "pnpm install may change what the lockfile says", "pnpm " + verb, "pnpm install --frozen-lockfile"
		case frozen():
		case project && !c.manifests.files["pnpm-lock.yaml"]:
			return Warn, "pnpm install, and there is no pnpm-lock.yaml", "pnpm " + verb, "pnpm install --frozen-lockfile"
		case !project:
			return Info, "pnpm install holds to the lockfile in CI only where there is one", "pnpm " + verb, "pnpm install --frozen-lockfile"
		}
	case "bun":
		if install && len(args) == 1 && !frozen() {
			return Warn, "bun install may change what the lockfile says", "bun " + verb, "bun install --frozen-lockfile"
		}
	case "vlt":
		if install && len(args) == 1 && !frozen() {
			if _, ok := hasFlag(words, "expect-lockfile"); !ok {
				return Info, "vlt install may change what the lockfile says", "vlt " + verb, "vlt ci"
			}
		}
	case "yarn":
		if (len(args) == 0 || install && len(args) == 1) && len(words) <= 2 && !frozen() {
			if project && c.manifests.files[".yarnrc.yml"] {
				return "", "", "", "" // yarn 2 and later hold to it in CI by themselves
			}
			if project && c.manifests.files["yarn.lock"] {
				return Warn, "yarn 1 may change what the lockfile says", "", "yarn install --frozen-lockfile"
			}
			return Info, "yarn 1 may change what the lockfile says; later yarns hold to it in CI", "", "yarn install --frozen-lockfile"
		}
	}
	return "", "", "", ""
}

// Building beside the credentials.

// buildNames match scripts that build or test.
var buildNames = regexp.MustCompile(`(?i)build|compile|test|lint|bundle|generate|prepare|typecheck|check|dist|pack`)

// runsOthersCode says what a command runs that is not the project's own workflow: install scripts, build tools.
func runsOthersCode(words []string) string {
	words = unwrap(words)
	if len(words) == 0 {
		return ""
	}
	args := arguments(words[1:])
	noScripts, isSet := hasFlag(words, "ignore-scripts")
	off := isSet && noScripts != "false"
	switch name := toolName(words[0]); name {
	case "npm", "pnpm", "yarn", "bun", "vlt", "vp":
		verb := ""
		if len(args) > 0 {
			verb = args[0]
		}
		installs := verb == "ci" || verb == "install" || verb == "i" || verb == "clean-install" || verb == "install-clean" || verb == "ic" || name == "yarn" && verb == ""
		global := slices.Contains(words, "-g") || slices.Contains(words, "--global")
		if installs && !global && !off {
			return strings.TrimSpace(name+" "+verb) + " runs install scripts"
		}
		if script, ok := scriptRun(words); ok && buildNames.MatchString(script) {
			return strings.Join(words[:min(len(words), 3)], " ")
		}
		if verb == "build" || verb == "rebuild" || name == "bun" && verb == "test" {
			return name + " " + verb
		}
	case "tsc", "vite", "rollup", "webpack", "esbuild", "tsup", "turbo", "vitest", "jest", "unbuild", "tsdown", "swc", "babel":
		return name
	case "nx":
		if len(args) > 0 && (args[0] == "run-many" || args[0] == "run" || args[0] == "build" || args[0] == "affected") {
			return "nx " + args[0]
		}
	case "lerna":
		if len(args) > 0 && (args[0] == "run" || args[0] == "bootstrap") {
			return "lerna " + args[0]
		}
	case "make":
		if !slices.ContainsFunc(args, releasing.MatchString) {
			return "make"
		}
	}
	return ""
}

func (c *checker) checkBuild(j *job, before []*step) {
	var what []string
	line, file := 0, j.w.path
	loose := false // something in the job is not fixed by the attested commit
	for _, s := range before {
		if s.uses != "" {
			base, ref, ok := strings.Cut(s.uses, "@")
			if ok && !strings.HasPrefix(base, ".") && !commitPattern.MatchString(ref) && !strings.Contains(ref, "sha256:") {
				loose = true
			}
			if v := s.with["bun-version"].value; v == "latest" {
				loose = true
			}
		}
		for _, cmd := range s.commands {
			if len(unpinnedTools(cmd.words)) > 0 {
				loose = true
			}
			if level, _, _, _ := c.unlocked(cmd.words); level == Warn {
				loose = true
			}
			w := runsOthersCode(cmd.words)
			if w == "" {
				continue
			}
			if line == 0 {
				line, file = s.at(cmd), s.file
			}
			if !slices.Contains(what, w) {
				what = append(what, w)
			}
		}
	}
	for _, p := range j.publishes { // a release script that builds
		for _, s := range p.scripts {
			if buildNames.MatchString(s) && line == 0 {
				what, line, file = append(what, "script "+s), p.Line, p.File
			}
		}
	}
	if len(what) == 0 {
		// What a script with a telling name does cannot be seen, but the step says it builds.
		for _, p := range j.publishes {
			if p.Guessed && strings.Contains(strings.ToLower(p.step.name), "build") {
				what, line, file = []string{p.Via}, p.Line, p.File
				break
			}
		}
	}
	if len(what) == 0 {
		return
	}
	if len(what) > 3 {
		what = append(what[:3:3], "more")
	}
	var writes []string
	for _, scope := range []string{"contents", "pull-requests", "packages", "actions", "issues"} {
		if level, _ := j.permission(scope); level == "write" {
			writes = append(writes, scope)
		}
	}
	credentials := "the credentials to publish"
	if j.hasIDToken() {
		credentials = "id-token: write"
	}
	message := fmt.Sprintf("job %s installs, builds and publishes in one, with %s at hand", j.id, credentials)
	if len(writes) > 0 {
		message += " and write access to " + strings.Join(writes, ", ")
	}
	if secrets := j.secrets(); len(secrets) > 0 {
		message += ", beside " + count(len(secrets), "more secret") + " (" + strings.Join(secrets[:min(3, len(secrets))], ", ") + ")"
	}
	message += ": " + strings.Join(what, "; ")
	level := Warn
	if j.ast.Environment != nil && !loose && j.w.ast.Permissions != nil {
		level = Info // somebody can approve it, and all it runs is fixed by the commit
		message += "; it is behind an environment, and what it runs is pinned"
	}
	c.add(Finding{Rule: "build-with-credentials", Level: level, File: file, Line: line, Job: j.id, Message: message})
}

// secrets returns the secrets that the job's steps get, sorted.
func (j *job) secrets() []string {
	names := map[string]bool{}
	note := func(vars map[string]variable) {
		for _, v := range vars {
			if s := secretName(v.value); s != "" {
				names[s] = true
			}
		}
	}
	note(j.w.env)
	note(j.env)
	for _, s := range j.steps {
		note(s.env)
		note(s.with)
		note(map[string]variable{"": {value: s.script}})
	}
	return slices.Sorted(maps.Keys(names))
}

// Where the published files come from.

func (c *checker) checkSource(j *job, before []*step) {
	mismatch := false // told once
	for _, s := range before {
		switch {
		case isAction(s.uses, "actions/download-artifact"):
			if s.with["run-id"].value != "" || s.with["repository"].value != "" {
				c.add(Finding{Rule: "foreign-artifact", File: s.file, Line: s.usesLine, Job: j.id, Message: "the artifact comes from another workflow run"})
			} else if from := j.artifactJobs(); len(from) > 0 {
				c.add(Finding{Rule: "split-build", File: s.file, Line: s.usesLine, Job: j.id, Message: fmt.Sprintf("what is published comes from %s as an artifact", jobList(from))})
			} else {
				c.add(Finding{Rule: "split-build", File: s.file, Line: s.usesLine, Job: j.id, Message: "what is published comes from another job as an artifact"})
			}
		case isAction(s.uses, "dawidd6/action-download-artifact"):
			c.add(Finding{Rule: "foreign-artifact", File: s.file, Line: s.usesLine, Job: j.id, Message: "the artifact comes from another workflow run"})
		case isAction(s.uses, "changesets/action/publish") && s.with["pack-dir-artifact-id"].value != "":
			c.add(Finding{Rule: "split-build", File: s.file, Line: s.usesLine, Job: j.id, Message: "the tarballs come from another job as an artifact"})
		case isAction(s.uses, "actions/checkout"):
			c.checkCheckout(j, s)
		}
		for _, cmd := range s.commands {
			mismatch = c.checkChanges(j, s, cmd, mismatch)
		}
	}
}

// artifactJobs returns the jobs before j that upload artifacts.
func (j *job) artifactJobs() []string {
	var names []string
	before := j.before()
	for _, other := range j.w.jobs {
		if before[other] && slices.ContainsFunc(other.steps, func(s *step) bool { return isAction(s.uses, "actions/upload-artifact") }) {
			names = append(names, other.id)
		}
	}
	return names
}

// sameCommit matches the refs that are the commit of the event.
var sameCommit = regexp.MustCompile(`^\$\{\{\s*(github\.(sha|ref|ref_name)|github\.event\.release\.tag_name|github\.event\.workflow_run\.head_sha)\s*\}\}$`)

func (c *checker) checkCheckout(j *job, s *step) {
	if v := s.with["ref"]; v.value != "" && !sameCommit.MatchString(v.value) && s.with["repository"].value == "" {
		c.add(Finding{Rule: "commit-mismatch", Level: Info, File: s.file, Line: v.line, Job: j.id,
			Message: fmt.Sprintf("the job checks out %s, and the attestation names the commit of the event", v.value),
			Fix:     "Delete ref:, and let the ref that is to be published start the run."})
	}
	if level, _ := j.permission("contents"); level != "write" {
		return
	}
	switch v, ok := s.with["persist-credentials"]; {
	case ok && isTrue(v.value):
		c.add(Finding{Rule: "persist-credentials", Level: Warn, File: s.file, Line: v.line, Job: j.id, Message: "persist-credentials: true, and the token may write to the repository"})
	case !ok:
		c.add(Finding{Rule: "persist-credentials", File: s.file, Line: s.usesLine, Job: j.id, Message: "actions/checkout keeps a token that may write to the repository"})
	}
}

// updates match scripts that change dependencies or generated source.
var updates = regexp.MustCompile(`(?i)^(update|upgrade|deps:?up|bump)([:._-]|$)`)

// checkChanges finds what makes the published files differ from the attested commit. mismatch says whether a
// commit in this job has been told already; so does the result.
func (c *checker) checkChanges(j *job, s *step, cmd command, mismatch bool) bool {
	words := unwrap(cmd.words)
	if len(words) < 2 {
		return mismatch
	}
	args := arguments(words[1:])
	if len(args) == 0 {
		return mismatch
	}
	add := func(rule string, level Level, message string) {
		if rule == "commit-mismatch" {
			if mismatch {
				return
			}
			mismatch = true
		}
		c.add(Finding{Rule: rule, Level: level, File: s.file, Line: s.at(cmd), Job: j.id, Message: message})
	}
	switch name := toolName(words[0]); name {
	case "git":
		if args[0] == "commit" && !slices.Contains(words, "--dry-run") {
			add("commit-mismatch", Warn, "the job commits before it publishes; the attestation names the commit before")
		}
	case "npm", "pnpm", "yarn", "bun":
		isVersion := args[0] == "version" && len(args) > 1
		if v, ok := hasFlag(words, "git-tag-version"); isVersion && ok && v == "false" {
			add("tree-changed", Info, name+" version changes package.json, and no commit holds it")
		} else if isVersion && (name == "npm" || name == "yarn" || name == "bun") {
			add("commit-mismatch", Warn, name+" version commits in the job; the attestation names the commit before")
		}
		global := slices.Contains(words, "-g") || slices.Contains(words, "--global")
		switch {
		case !global && (args[0] == "update" || args[0] == "up" || args[0] == "upgrade"):
			add("tree-changed", Warn, name+" "+args[0]+" takes dependencies that no commit names")
		case args[0] == "pkg" && len(args) > 1 && args[1] == "set":
			add("tree-changed", Info, name+" pkg set changes package.json, and no commit holds it")
		}
		if script, ok := scriptRun(words); ok && updates.MatchString(script) {
			add("tree-changed", Warn, "script "+script+" changes the tree before it is published")
		}
	case "ncu", "npm-check-updates":
		if slices.Contains(words, "-u") || slices.Contains(words, "--upgrade") {
			add("tree-changed", Warn, name+" takes dependencies that no commit names")
		}
	case "lerna":
		if args[0] == "version" {
			add("commit-mismatch", Warn, "lerna version commits in the job; the attestation names the commit before")
		}
	}
	return mismatch
}

// Runners.

var (
	hostedLabel = regexp.MustCompile(`^(ubuntu|windows|macos)-(latest|slim|\d+(\.\d+)?|vs\d+)([-_](arm|arm64|intel|xlarge|large|xl|slim|latest|cores?|\d+-?cores?|vs\d+))*$`)
	rentedLabel = regexp.MustCompile(`(?i)^(blacksmith|depot|buildjet|ubicloud|warp|namespace|nscloud|runs-on|cirun|actuated|latchkey|warpbuild|github-runner-self|runner-)[-_/=]?`)
)

func (c *checker) checkRunner(j *job) {
	r := j.ast.RunsOn
	if r == nil {
		return
	}
	labels := r.Labels
	if r.LabelsExpr != nil {
		labels = append(labels[:len(labels):len(labels)], r.LabelsExpr)
	}
	for _, l := range labels {
		name := value(l)
		if strings.Contains(name, "${{") {
			for _, v := range j.matrixValues(name) {
				c.judgeRunner(j, v, lineOf(l))
			}
			continue
		}
		c.judgeRunner(j, name, lineOf(l))
	}
}

func (c *checker) judgeRunner(j *job, label string, line int) {
	if line == 0 {
		line = j.line
	}
	lower := strings.ToLower(label)
	switch {
	case lower == "self-hosted" || rentedLabel.MatchString(lower):
		c.add(Finding{Rule: "self-hosted-runner", File: j.w.path, Line: line, Job: j.id, Message: fmt.Sprintf("job %s publishes on %s, a self-hosted runner", j.id, label)})
	case lower == "" || lower == "linux" || lower == "x64" || lower == "arm64" || lower == "windows" || lower == "macos" || hostedLabel.MatchString(lower):
	default:
		c.add(Finding{Rule: "self-hosted-runner", Level: Info, File: j.w.path, Line: line, Job: j.id, Message: fmt.Sprintf("job %s publishes on %s, which may be a self-hosted runner: npm refuses those", j.id, label)})
	}
}

var matrixReference = regexp.MustCompile(`^\$\{\{\s*matrix\.([A-Za-z0-9_-]+)\s*\}\}$`)

// matrixValues returns the values that "${{ matrix.x }}" takes, none where they are not written out.
func (j *job) matrixValues(expression string) []string {
	m := matrixReference.FindStringSubmatch(strings.TrimSpace(expression))
	if m == nil || j.ast.Strategy == nil || j.ast.Strategy.Matrix == nil {
		return nil
	}
	var all []string
	for name, row := range j.ast.Strategy.Matrix.Rows {
		if row == nil || !strings.EqualFold(name, m[1]) {
			continue
		}
		for _, v := range row.Values {
			if s, ok := v.(*actionlint.RawYAMLString); ok {
				all = append(all, s.Value)
			}
		}
	}
	return all
}

// Versions of Node.js and npm.

// nodeVersion matches a version that names a major, and perhaps more, but no range or alias.
var nodeVersion = regexp.MustCompile(`^[v^~=]*(\d{1,3})(?:\.(\d{1,3}|x|\*))?(?:\.(\d{1,3}|x|\*))?$`)

// checkVersions finds a Node.js whose npm is too old, where the workflow names it and nothing installs another npm.
func (c *checker) checkVersions(j *job, before []*step) {
	node := j.containerNode()
	newer := false
	for _, s := range before {
		if isAction(s.uses, "actions/setup-node") && s.with["node-version"].value != "" {
			node, newer = s, false
		}
		if strings.Contains(s.uses, "npm") && !strings.Contains(strings.ToLower(s.uses), "publish") { // an action that installs npm
			newer = true
		}
		for _, cmd := range s.commands {
			w := unwrapSudo(cmd.words)
			if v, ok := npmForOnce(w); ok {
				newer = c.judgeNPM(j, s, cmd, v)
			}
			if len(w) > 2 && slices.ContainsFunc(w, func(a string) bool { return a == "npm" || strings.HasPrefix(a, "npm@") }) && (slices.Contains(w, "-g") || slices.Contains(w, "--global") || w[0] == "corepack") {
				newer = true
				for _, a := range w[1:] {
					if v, ok := strings.CutPrefix(a, "npm@"); ok {
						newer = c.judgeNPM(j, s, cmd, v)
					}
				}
			}
		}
	}
	if node == nil || newer {
		if node != nil {
			c.judgeNode(j, node, true)
		}
		return
	}
	c.judgeNode(j, node, false)
}

// nodeImage matches the official image of Node.js, by version.
var nodeImage = regexp.MustCompile(`^(?:docker\.io/)?(?:library/)?node:(\d[0-9.]*)(?:[-@]|$)`)

// containerNode returns the Node.js of the job's container as if a step had set it up, nil where its image does
// not tell.
func (j *job) containerNode() *step {
	if j.ast.Container == nil {
		return nil
	}
	image := j.ast.Container.Image
	m := nodeImage.FindStringSubmatch(value(image))
	if m == nil {
		return nil
	}
	return &step{file: j.w.path, with: map[string]variable{"node-version": {m[1], lineOf(image)}}}
}

// npmForOnce returns the version of the npm that a command fetches to publish with: npx npm@10 publish.
func npmForOnce(words []string) (version string, ok bool) {
	if len(words) < 3 || !slices.Contains(words, "publish") {
		return "", false
	}
	switch words[0] {
	case "npx", "bunx", "pnpx":
	case "npm", "pnpm", "yarn":
		if words[1] != "exec" && words[1] != "x" && words[1] != "dlx" {
			return "", false
		}
	default:
		return "", false
	}
	for _, w := range words[1:] {
		if w == "publish" {
			break
		}
		if v, ok := strings.CutPrefix(strings.TrimPrefix(w, "--package="), "npm@"); ok {
			return v, true
		}
	}
	return "", false
}

func unwrapSudo(words []string) []string {
	if len(words) > 1 && words[0] == "sudo" {
		return words[1:]
	}
	return words
}

// judgeNPM judges a version of npm that the job installs; it returns true, since the npm of Node.js no longer counts.
func (c *checker) judgeNPM(j *job, s *step, cmd command, version string) bool {
	m := nodeVersion.FindStringSubmatch(version)
	if m == nil || !c.npmCounts(j) {
		return true
	}
	major, minor, patch := atoi(m[1]), atoi(m[2]), atoi(m[3])
	floating := m[2] == "" || m[3] == "" || strings.HasPrefix(version, "^") || strings.HasPrefix(version, "~") && m[2] == ""
	if c.hasToken(j) {
		if major < 9 || major == 9 && minor < 5 && !floating {
			c.add(Finding{Rule: "npm-too-old", File: s.file, Line: s.at(cmd), Job: j.id, Message: "npm " + version + " does not know provenance", Fix: "npm install --global npm@11.5.1"})
		}
		return true
	}
	if j.hasIDToken() && (major < 11 || major == 11 && !floating && (minor < 5 || minor == 5 && patch < 1)) {
		c.add(Finding{Rule: "npm-too-old", File: s.file, Line: s.at(cmd), Job: j.id, Message: "npm " + version + " does not know trusted publishing", Fix: "npm install --global npm@11.5.1"})
	}
	return true
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// npmCounts reports whether npm's own command line makes the upload.
func (c *checker) npmCounts(j *job) bool {
	return slices.ContainsFunc(j.publishes, func(p *publishStep) bool {
		return p.tool != nil && p.tool.npm && p.tool != toolSemantic && p.tool != toolAction
	})
}

func (c *checker) judgeNode(j *job, s *step, otherNPM bool) {
	v := s.with["node-version"]
	versions := []string{v.value}
	if strings.Contains(v.value, "${{") {
		if versions = j.matrixValues(v.value); len(versions) == 0 {
			if name, ok := wholeExpression(v.value); ok {
				if env, ok := strings.CutPrefix(name, "env."); ok {
					_, set, _ := j.lookup(s, func(n string) bool { return n == env })
					versions = []string{set.value}
				}
			}
		}
	}
	if !c.npmCounts(j) {
		return
	}
	token := c.hasToken(j)
	for _, version := range versions {
		m := nodeVersion.FindStringSubmatch(strings.TrimSpace(version))
		if m == nil {
			continue
		}
		major, minor := atoi(m[1]), atoi(m[2])
		latest := m[2] == "" || m[2] == "x" || m[2] == "*" || strings.HasPrefix(version, "^")
		switch {
		case token:
			if !otherNPM && (major < 18 || major == 18 && !latest && minor < 16) && c.wantsProvenance(j) {
				c.add(Finding{Rule: "npm-too-old", File: s.file, Line: v.line, Job: j.id, Message: fmt.Sprintf("the npm of Node.js %s is older than 9.5 and makes no provenance", version)})
			}
		case !j.hasIDToken():
		case otherNPM:
			if major < 22 || major == 22 && !latest && minor < 14 {
				c.add(Finding{Rule: "npm-too-old", Level: Warn, File: s.file, Line: v.line, Job: j.id, Message: fmt.Sprintf("Node.js %s is older than 22.14, which npm asks for in trusted publishing", version)})
			}
		case major < 24 || major == 24 && !latest && minor < 5:
			c.add(Finding{Rule: "npm-too-old", File: s.file, Line: v.line, Job: j.id, Message: fmt.Sprintf("the npm of Node.js %s is older than 11.5.1: there is no token, and it cannot log in with the job's identity", version)})
		}
	}
}
