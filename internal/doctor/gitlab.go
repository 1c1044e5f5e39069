package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const gitlabName = ".gitlab-ci.yml"

// A gitlabFile is a GitLab CI file, or a component's template.
type gitlabFile struct {
	path string
	top  *yaml.Node
	jobs []*gitlabJob
}

// A gitlabJob is a job, what it extends and the file's defaults filled in.
type gitlabJob struct {
	g         *gitlabFile
	name      string
	line      int
	node      *yaml.Node
	vars      []map[string]variable
	steps     []*step
	publishes []*publishStep
	elsewhere []*publishStep
}

// gitlabKeywords are the keys at the top of a file that are not jobs.
var gitlabKeywords = set("default include stages variables workflow image services cache before_script after_script pages spec")

// isGitLab tells a GitLab CI file from a GitHub workflow.
func isGitLab(name string, data []byte) bool {
	if strings.HasSuffix(name, gitlabName) {
		return true
	}
	if strings.HasPrefix(name, ".github/") {
		return false
	}
	docs, err := parseYAML(data)
	if err != nil || len(docs) == 0 {
		return false
	}
	top := lastMapping(docs)
	jobs, _ := field(top, "jobs")
	if jobs != nil && jobs.Kind == yaml.MappingNode {
		return false
	}
	return isComponent(data) || slices.ContainsFunc(jobNodes(top), func(n *yaml.Node) bool {
		script, _ := field(n, "script")
		return script != nil
	})
}

// isComponent reports whether a file begins with a component's spec: header.
func isComponent(data []byte) bool {
	docs, err := parseYAML(data)
	if err != nil || len(docs) < 2 || len(docs[0].Content) == 0 {
		return false
	}
	spec, _ := field(docs[0].Content[0], "spec")
	return spec != nil
}

func lastMapping(docs []*yaml.Node) *yaml.Node {
	if len(docs) == 0 || len(docs[len(docs)-1].Content) == 0 {
		return nil
	}
	return deref(docs[len(docs)-1].Content[0])
}

func jobNodes(top *yaml.Node) []*yaml.Node {
	if top == nil || top.Kind != yaml.MappingNode {
		return nil
	}
	var all []*yaml.Node
	for i := 0; i+1 < len(top.Content); i += 2 {
		if v := deref(top.Content[i+1]); v != nil && v.Kind == yaml.MappingNode && !gitlabKeywords[top.Content[i].Value] {
			all = append(all, v)
		}
	}
	return all
}

func (c *checker) loadGitLab(name string, data []byte) {
	docs, err := parseYAML(data)
	if err != nil {
		c.add(Finding{Rule: "file-unreadable", File: name, Line: 1, Message: err.Error()})
		return
	}
	g := &gitlabFile{path: name, top: lastMapping(docs)}
	if g.top == nil || g.top.Kind != yaml.MappingNode {
		c.add(Finding{Rule: "file-unreadable", File: name, Line: 1, Message: "the file has no jobs"})
		return
	}
	lines := splitLines(data)
	global := gitlabVariables(g.top)
	for i := 0; i+1 < len(g.top.Content); i += 2 {
		key, node := g.top.Content[i], deref(g.top.Content[i+1])
		if gitlabKeywords[key.Value] && key.Value != "pages" || strings.HasPrefix(key.Value, ".") || node == nil || node.Kind != yaml.MappingNode {
			continue
		}
		j := &gitlabJob{g: g, name: key.Value, line: key.Line, node: node}
		own := map[string]variable{}
		for _, n := range j.lineage() {
			for name, v := range gitlabVariables(n) {
				if _, ok := own[name]; !ok {
					own[name] = v
				}
			}
		}
		j.vars = []map[string]variable{own, global}
		var assigned map[string]string                             // one shell runs them all
		for _, part := range []string{"before_script", "script"} { // after_script runs in a shell of its own, too late
			node, _ := j.get(part)
			for _, n := range texts(node) {
				s := &step{file: name, line: n.Line, script: n.Value, env: own, with: map[string]variable{}}
				s.place(lines, n.Line, n.Column)
				s.commands, assigned = commandsAfter(n.Value, assigned)
				j.steps = append(j.steps, s)
			}
		}
		g.jobs = append(g.jobs, j)
	}
	c.gitlab = append(c.gitlab, g)
}

func gitlabVariables(n *yaml.Node) map[string]variable {
	m := map[string]variable{}
	v, _ := field(n, "variables")
	if v == nil || v.Kind != yaml.MappingNode {
		return m
	}
	for i := 0; i+1 < len(v.Content); i += 2 {
		value := deref(v.Content[i+1])
		if value != nil && value.Kind == yaml.MappingNode {
			value, _ = field(value, "value")
		}
		m[v.Content[i].Value] = variable{text(value), v.Content[i].Line}
	}
	return m
}

// lineage returns the job and what it extends, the nearest first.
func (j *gitlabJob) lineage() []*yaml.Node {
	all := []*yaml.Node{j.node}
	for i := 0; i < len(all) && len(all) < 50; i++ {
		extends, _ := field(all[i], "extends")
		names := texts(extends)
		slices.Reverse(names) // the last one wins
		for _, n := range names {
			if parent, _ := field(j.g.top, n.Value); parent != nil && !slices.Contains(all, parent) {
				all = append(all, parent)
			}
		}
	}
	return all
}

// get returns a keyword of the job: its own, an extended job's, the default's.
func (j *gitlabJob) get(key string) (*yaml.Node, int) {
	for _, n := range j.lineage() {
		if v, line := field(n, key); v != nil {
			return v, line
		}
	}
	defaults, _ := field(j.g.top, "default")
	if v, line := field(defaults, key); v != nil {
		return v, line
	}
	switch key {
	case "image", "services", "cache", "before_script", "after_script":
		return field(j.g.top, key)
	}
	return nil, 0
}

func (c *checker) checkGitLab() {
	for _, g := range c.gitlab {
		publishes := false
		for _, j := range g.jobs {
			c.findGitLabPublishes(j)
			publishes = publishes || len(j.publishes) > 0
		}
		if publishes {
			c.checkIncludes(g)
		}
		for _, j := range g.jobs {
			for _, p := range j.elsewhere {
				c.add(Finding{Rule: "other-registry", File: p.File, Line: p.Line, Job: j.name, Message: fmt.Sprintf("%s publishes to %s", p.Tool, p.Registry)})
			}
			if len(j.publishes) > 0 {
				c.checkGitLabJob(j)
			}
		}
	}
}

func (c *checker) findGitLabPublishes(j *gitlabJob) {
	for _, s := range j.steps {
		for _, cmd := range s.commands {
			for _, p := range c.commandPublishes(nil, s, cmd) {
				if p.Guessed && !j.hasCredentials() {
					continue
				}
				p.File, p.Line, p.Job, p.step, p.vars = j.g.path, s.at(cmd), j.name, s, j.vars
				if p.tool != nil && p.Registry == registryNPM {
					p.Registry = c.registryOf(nil, s, p)
				}
				// GitLab's registry keeps no provenance, so that a job which says something about it means npm's as well.
				if setting, _, _ := c.provenanceOf(p); p.NPM() || p.Registry == registryGitLab && setting != "" {
					j.publishes = append(j.publishes, p)
				} else {
					j.elsewhere = append(j.elsewhere, p)
				}
				c.publishes = append(c.publishes, p.Publish)
			}
		}
	}
}

// idTokens returns the audiences of the job's ID tokens by name.
func (j *gitlabJob) idTokens() (audiences map[string][]string, line int) {
	tokens, line := j.get("id_tokens")
	audiences = map[string][]string{}
	if tokens == nil || tokens.Kind != yaml.MappingNode {
		return audiences, line
	}
	for i := 0; i+1 < len(tokens.Content); i += 2 {
		aud, _ := field(tokens.Content[i+1], "aud")
		list := []string{}
		for _, n := range texts(aud) {
			list = append(list, n.Value)
		}
		audiences[tokens.Content[i].Value] = list
	}
	return audiences, line
}

func (j *gitlabJob) hasCredentials() bool {
	tokens, _ := j.idTokens()
	return len(tokens) > 0 || j.tokenVariable() != ""
}

var gitlabToken = regexp.MustCompile(`\$\{?(NPM_TOKEN|NODE_AUTH_TOKEN|NPM_AUTH_TOKEN|NPM_ACCESS_TOKEN|CI_JOB_TOKEN|[A-Z_]*NPM[A-Z_]*TOKEN)\b`)

// tokenVariable returns the variable with which the job's scripts log in, "" for none.
func (j *gitlabJob) tokenVariable() string {
	for _, s := range j.steps {
		if m := gitlabToken.FindStringSubmatch(s.script); m != nil && !strings.Contains(m[1], "ID_TOKEN") {
			return m[1]
		}
	}
	name, v, ok := lookup(j.vars, tokenVariable.MatchString)
	if ok && v.value != "" {
		return name
	}
	return ""
}

func (c *checker) checkGitLabJob(j *gitlabJob) {
	file := j.g.path
	tokens, line := j.idTokens()
	if line == 0 {
		line = j.line
	}
	sigstore, has := tokens["SIGSTORE_ID_TOKEN"]
	switch {
	case !has:
		c.add(Finding{Rule: "gitlab-sigstore-token", File: file, Line: line, Job: j.name, Message: fmt.Sprintf("job %s publishes, and has no SIGSTORE_ID_TOKEN", j.name)})
	case len(sigstore) != 1 || sigstore[0] != "sigstore":
		c.add(Finding{Rule: "gitlab-sigstore-token", File: file, Line: line, Job: j.name, Message: fmt.Sprintf("the audience of SIGSTORE_ID_TOKEN is %s, and must be sigstore", orNone(sigstore))})
	}
	login, has := tokens["NPM_ID_TOKEN"]
	token := j.tokenVariable()
	trusted := has && len(login) == 1 && login[0] == "npm:registry.npmjs.org"
	switch {
	case trusted:
	case has:
		c.add(Finding{Rule: "gitlab-npm-token", File: file, Line: line, Job: j.name, Message: fmt.Sprintf("the audience of NPM_ID_TOKEN is %s, and must be npm:registry.npmjs.org", orNone(login))})
	case token == "" && !c.config.readsToken():
		c.add(Finding{Rule: "gitlab-npm-token", Level: Warn, File: file, Line: line, Job: j.name, Message: fmt.Sprintf("job %s has neither an NPM_ID_TOKEN nor a token that the file shows", j.name)})
	}
	if token != "" && token != "CI_JOB_TOKEN" {
		message := fmt.Sprintf("job %s publishes with %s", j.name, token)
		if trusted {
			message += ", beside NPM_ID_TOKEN"
		}
		c.add(Finding{Rule: "long-lived-token", File: file, Line: j.line, Job: j.name, Message: message,
			Fix: "id_tokens:\n  NPM_ID_TOKEN:\n    aud: \"npm:registry.npmjs.org\""})
	} else if token == "CI_JOB_TOKEN" {
		c.add(Finding{Rule: "other-registry", File: file, Line: j.line, Job: j.name, Message: fmt.Sprintf("job %s logs in with CI_JOB_TOKEN, which is for GitLab's own registry", j.name)})
	}
	for _, p := range j.publishes {
		setting, where, at := c.provenanceOf(p)
		switch {
		case setting == "false" && where != ".npmrc" && where != ".yarnrc.yml":
			c.add(Finding{Rule: "provenance-off", File: where, Line: at, Job: j.name, Message: fmt.Sprintf("provenance is switched off for %s", p.Tool)})
			if _, v, ok := p.lookup(isProvenanceVariable); ok && boolean(v.value) == "false" && v.line != at {
				c.add(Finding{Rule: "provenance-off", File: file, Line: v.line, Job: j.name, Message: "the variable switches provenance off"})
			}
		case setting != "" || p.tool == toolAssay:
		case trusted:
			c.add(Finding{Rule: "provenance-implicit", File: file, Line: p.Line, Job: j.name, Message: p.Tool + " has no --provenance: npm adds it because of trusted publishing"})
		default:
			c.add(Finding{Rule: "provenance-missing", File: file, Line: p.Line, Job: j.name, Message: "nothing asks for provenance at " + p.Tool})
		}
		if p.Via != "" {
			c.add(Finding{Rule: "hidden-publish", File: file, Line: p.Line, Job: j.name, Message: p.Via + " publishes"})
		}
	}
	c.checkGitLabImage(j)
	c.checkGitLabRef(j)
	c.checkGitLabRunner(j)
	if cache, line := j.get("cache"); cache != nil && !emptyNode(cache) {
		if policy, _ := field(cache, "policy"); text(policy) != "push" {
			c.add(Finding{Rule: "cache-in-publish", File: file, Line: line, Job: j.name, Message: fmt.Sprintf("job %s restores a cache", j.name), Fix: "cache: []"})
		}
	}
	if env, _ := j.get("environment"); env == nil {
		c.add(Finding{Rule: "environment-missing", File: file, Line: j.line, Job: j.name, Message: fmt.Sprintf("job %s publishes without an environment", j.name)})
	}
	last := j.publishes[len(j.publishes)-1].step
	builds := ""
	buildLine := 0
	for _, s := range j.steps {
		for _, cmd := range s.commands {
			for _, what := range unpinnedTools(cmd.words) {
				c.add(Finding{Rule: "unpinned-tool", File: file, Line: s.at(cmd), Job: j.name, Message: what})
			}
			if level, message, _, to := c.unlocked(cmd.words); message != "" {
				c.add(Finding{Rule: "unlocked-install", Level: level, File: file, Line: s.at(cmd), Job: j.name, Message: message, Fix: to})
			}
			if w := runsOthersCode(cmd.words); w != "" && builds == "" {
				builds, buildLine = w, s.at(cmd)
			}
		}
		if s == last {
			break
		}
	}
	if builds != "" {
		c.add(Finding{Rule: "build-with-credentials", File: file, Line: buildLine, Job: j.name, Message: fmt.Sprintf("job %s installs, builds and publishes in one, with its tokens at hand (%s)", j.name, builds)})
	}
}

func emptyNode(n *yaml.Node) bool {
	return (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && len(n.Content) == 0 || n.Kind == yaml.ScalarNode && (n.Value == "" || n.Tag == "!!null")
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "not set"
	}
	return strings.Join(list, ", ")
}

func (c *checker) checkGitLabImage(j *gitlabJob) {
	image, line := j.get("image")
	if image != nil && image.Kind == yaml.MappingNode {
		image, line = field(image, "name")
	}
	name := text(image)
	if name == "" || strings.Contains(name, "@sha256:") || strings.HasPrefix(name, "$") {
		return
	}
	c.add(Finding{Rule: "image-unpinned", File: j.g.path, Line: line, Job: j.name, Message: "the image " + name + " is named by a tag", Fix: "image: " + name + "@sha256:<64 hex digits>"})
}

// checkGitLabRef looks at what decides on which refs the job runs.
func (c *checker) checkGitLabRef(j *gitlabJob) {
	file := j.g.path
	rules, line := j.get("rules")
	only, onlyLine := j.get("only")
	workflow, _ := field(j.g.top, "workflow")
	workflowRules, _ := field(workflow, "rules")
	var conditions []*yaml.Node
	switch {
	case rules != nil && rules.Kind == yaml.SequenceNode:
		conditions = rules.Content
	case only != nil:
		refs := only
		if only.Kind == yaml.MappingNode {
			refs, _ = field(only, "refs")
		}
		for _, n := range texts(refs) {
			if n.Value == "merge_requests" {
				c.add(Finding{Rule: "risky-trigger", File: file, Line: n.Line, Job: j.name, Message: fmt.Sprintf("job %s publishes from merge requests", j.name)})
			}
			if n.Value == "branches" {
				c.add(Finding{Rule: "gitlab-unprotected", File: file, Line: n.Line, Job: j.name, Message: fmt.Sprintf("job %s publishes from every branch", j.name)})
			}
		}
		line = onlyLine
		c.tellProtected(j, line, nodeText(only))
		return
	case workflowRules != nil:
		return // they decide for the pipeline; what they mean for this job is not judged
	default:
		c.add(Finding{Rule: "gitlab-unprotected", File: file, Line: j.line, Job: j.name, Message: fmt.Sprintf("job %s publishes from every branch and tag", j.name)})
		return
	}
	all := ""
	for _, r := range conditions {
		r = deref(r)
		when, _ := field(r, "when")
		condition, at := field(r, "if")
		if text(when) == "never" {
			continue
		}
		if condition == nil {
			c.add(Finding{Rule: "gitlab-unprotected", File: file, Line: r.Line, Job: j.name, Message: fmt.Sprintf("job %s publishes from every branch and tag by this rule", j.name)})
			return
		}
		all += " " + text(condition)
		if strings.Contains(text(condition), "merge_request_event") && !strings.Contains(text(condition), "!=") {
			c.add(Finding{Rule: "risky-trigger", File: file, Line: at, Job: j.name, Message: fmt.Sprintf("job %s publishes from merge requests", j.name)})
		}
	}
	c.tellProtected(j, line, all)
}

// tellProtected notes that nothing in the file asks for a protected ref.
func (c *checker) tellProtected(j *gitlabJob, line int, conditions string) {
	if !strings.Contains(conditions, "CI_COMMIT_REF_PROTECTED") {
		c.add(Finding{Rule: "gitlab-unprotected", Level: Info, File: j.g.path, Line: line, Job: j.name, Message: fmt.Sprintf("no rule of job %s asks for a protected branch or tag", j.name)})
	}
}

func nodeText(n *yaml.Node) string {
	var all []string
	for _, t := range texts(n) {
		all = append(all, t.Value)
	}
	return strings.Join(all, " ")
}

var gitlabHosted = regexp.MustCompile(`^(saas-|gitlab-org|shared|docker$)`)

func (c *checker) checkGitLabRunner(j *gitlabJob) {
	tags, _ := j.get("tags")
	for _, n := range texts(tags) {
		if !gitlabHosted.MatchString(n.Value) && !strings.Contains(n.Value, "$") {
			c.add(Finding{Rule: "self-hosted-runner", Level: Warn, File: j.g.path, Line: n.Line, Job: j.name, Message: fmt.Sprintf("job %s asks for a runner tagged %s, which GitLab does not host", j.name, n.Value)})
			return
		}
	}
}

func (c *checker) checkIncludes(g *gitlabFile) {
	include, line := field(g.top, "include")
	if include == nil {
		return
	}
	list := []*yaml.Node{include}
	if include.Kind == yaml.SequenceNode {
		list = include.Content
	}
	for _, n := range list {
		n = deref(n)
		project, _ := field(n, "project")
		component, _ := field(n, "component")
		remote, _ := field(n, "remote")
		ref, _ := field(n, "ref")
		integrity, _ := field(n, "integrity")
		at := line
		if n.Line > 0 {
			at = n.Line
		}
		_, version, _ := strings.Cut(text(component), "@")
		switch {
		case project != nil && !commitPattern.MatchString(text(ref)):
			c.add(Finding{Rule: "include-unpinned", File: g.path, Line: at, Message: "a file of " + text(project) + " is included at a moving ref"})
		case component != nil && !commitPattern.MatchString(version) && !strings.HasPrefix(text(component), "$CI_SERVER_FQDN/$CI_PROJECT_PATH"):
			c.add(Finding{Rule: "include-unpinned", File: g.path, Line: at, Message: "the component " + text(component) + " is not pinned to a commit"})
		case remote != nil && text(integrity) == "":
			c.add(Finding{Rule: "include-unpinned", File: g.path, Line: at, Message: text(remote) + " is included without an integrity"})
		}
	}
}
