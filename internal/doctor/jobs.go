package doctor

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

// checkWorkflows runs every rule on GitHub workflows.
func (c *checker) checkWorkflows() {
	c.calledBy = map[*workflow][]*job{}
	for _, w := range c.workflows {
		for _, j := range w.jobs {
			if j.ast.WorkflowCall != nil {
				if j.callee = c.callee(value(j.ast.WorkflowCall.Uses)); j.callee != nil && j.callee != w {
					c.calledBy[j.callee] = append(c.calledBy[j.callee], j)
				}
			}
		}
	}
	c.findPublishes()
	c.publishesKnown = true
	for _, w := range c.workflows {
		for _, j := range w.jobs {
			j.token = nil
		}
	}
	for range maxCalls {
		for _, w := range c.workflows {
			w.publishes = w.publishes || slices.ContainsFunc(w.jobs, (*job).publishesNPM)
		}
	}
	for _, w := range c.workflows {
		c.checkWorkflow(w)
	}
}

// callee returns the local workflow that uses names, nil where it is of another repository or not there.
func (c *checker) callee(uses string) *workflow {
	for _, prefix := range []string{"./", "$/"} {
		if name, ok := strings.CutPrefix(uses, prefix); ok {
			for _, w := range c.workflows {
				if w.path == name {
					return w
				}
			}
		}
	}
	return nil
}

// publishesNPM reports whether a job publishes to npm, itself or in the local workflow that it calls.
func (j *job) publishesNPM() bool {
	return len(j.publishes) > 0 || j.callee != nil && j.callee.publishes
}

// maxCalls is how deep called workflows may call others; GitHub allows ten levels.
const maxCalls = 10

// callers returns the jobs of other workflows that call w.
func (c *checker) callers(w *workflow) []*job { return c.calledBy[w] }

// signs reports whether a job may sign as the repository, by its own word or by that of a caller.
func (c *checker) signs(j *job) bool {
	if j.hasIDToken() {
		return true
	}
	if _, stated := j.permission("id-token"); stated {
		return false
	}
	return slices.ContainsFunc(c.callers(j.w), (*job).hasIDToken)
}

// holds reports whether a job has what it takes to publish to npm or to sign as the repository.
func (c *checker) holds(j *job) bool { return j.publishesNPM() || c.signs(j) }

// externalPublish returns the jobs that call a workflow of another repository and give it an identity or an npm token.
func (c *checker) externalPublish() []*job {
	var all []*job
	for _, w := range c.workflows {
		for _, j := range w.jobs {
			if call := j.ast.WorkflowCall; call != nil && j.callee == nil && (j.hasIDToken() || c.hasToken(j)) {
				all = append(all, j)
			}
		}
	}
	return all
}

func (c *checker) checkWorkflow(w *workflow) {
	var holders []*job
	for _, j := range w.jobs {
		if c.holds(j) {
			holders = append(holders, j)
		}
		for _, p := range j.elsewhere {
			c.add(Finding{Rule: "other-registry", File: p.File, Line: p.Line, Job: j.id, Message: fmt.Sprintf("%s publishes to %s", p.Tool, p.Registry)})
		}
	}
	if len(holders) == 0 {
		return
	}
	c.checkTriggers(w, holders)
	c.checkTopPermissions(w)
	trusted := map[*job]bool{} // whose code reaches the package
	for _, j := range holders {
		trusted[j] = true
		maps.Copy(trusted, j.before())
	}
	c.checkReferences(w, trusted)
	c.checkDebug(w, "", w.env)
	for _, j := range holders {
		c.checkHolder(j)
		if j.publishesNPM() && j.ast.WorkflowCall == nil {
			c.checkPublisher(j)
		}
		if j.ast.WorkflowCall != nil {
			c.checkCall(j)
		}
	}
}

func (c *checker) checkDebug(w *workflow, job string, env map[string]variable) {
	for _, name := range []string{"ACTIONS_RUNNER_DEBUG", "ACTIONS_STEP_DEBUG"} {
		if v, ok := env[name]; ok && isTrue(v.value) {
			c.add(Finding{Rule: "debug-logging", File: w.path, Line: v.line, Job: job, Message: name + " is set"})
		}
	}
}

func isTrue(s string) bool { return s == "1" || strings.EqualFold(strings.TrimSpace(s), "true") }

// Triggers.

// outsiders are the events that somebody without write access can cause.
var outsiders = map[string]string{
	"pull_request":                "the ref is refs/pull/N/merge",
	"pull_request_target":         "it runs with the repository's rights on what a fork sent",
	"pull_request_review":         "anybody may review",
	"pull_request_review_comment": "anybody may comment",
	"issue_comment":               "anybody may comment",
	"issues":                      "anybody may open one",
	"discussion":                  "anybody may open one",
	"discussion_comment":          "anybody may comment",
	"workflow_run":                "it runs after a workflow that a fork may have started",
	"fork":                        "anybody may fork",
	"watch":                       "anybody may star",
}

func (c *checker) checkTriggers(w *workflow, holders []*job) {
	publishing := slices.ContainsFunc(holders, (*job).publishesNPM)
	var names []string
	for _, e := range w.ast.On {
		if e != nil {
			names = append(names, e.EventName())
		}
	}
	for _, name := range names {
		why, risky := outsiders[name]
		if !risky {
			continue
		}
		var jobs []string
		level := Warn
		for _, j := range holders {
			if !excludesEvent(value(j.ast.If), name) {
				jobs = append(jobs, j.id)
				if name != "workflow_run" && name != "pull_request" && j.checksOutProposal() {
					level = Error
				}
			}
		}
		if len(jobs) == 0 {
			continue
		}
		what := "can sign as this repository"
		if publishing {
			what = "can publish"
		}
		message := fmt.Sprintf("%s starts %s, which %s: %s", name, jobList(jobs), what, why)
		if level == Error {
			message += ", and it checks out the proposed code"
		}
		c.add(Finding{Rule: "risky-trigger", Level: level, File: w.path, Line: w.eventLine(name), Message: message})
	}
	push := w.webhook("push")
	if push == nil {
		return
	}
	branches := !push.Branches.IsEmpty() || !push.BranchesIgnore.IsEmpty()
	tags := !push.Tags.IsEmpty() || !push.TagsIgnore.IsEmpty()
	guarded := !slices.ContainsFunc(holders, func(j *job) bool { return !guardsRef(value(j.ast.If)) })
	if !branches && !tags && !guarded {
		c.add(Finding{Rule: "trigger-unfiltered", File: w.path, Line: w.eventLine("push"), Message: "push without a filter starts " + jobList(ids(holders))})
	}
	var plain []string
	for _, j := range holders {
		if slices.ContainsFunc(j.publishes, func(p *publishStep) bool { return p.tool != nil && p.tool.plain && p.Via == "" }) && !guardsRef(value(j.ast.If)) {
			plain = append(plain, j.id)
		}
	}
	if branches && tags && len(plain) > 0 {
		c.add(Finding{Rule: "trigger-mixed", File: w.path, Line: w.eventLine("push"), Message: "pushes to branches and of tags both start " + jobList(plain)})
	}
	if push.Tags != nil && publishing {
		for _, t := range push.Tags.Values {
			if p := value(t); p == "*" || p == "**" {
				c.add(Finding{Rule: "tag-pattern", File: w.path, Line: lineOf(t), Message: fmt.Sprintf("the tag pattern %q lets any tag publish", p)})
			}
		}
	}
	if tags && !branches && len(plain) > 0 && !w.mentionsRefName() {
		p := w.job(plain[0]).publishes[0]
		c.add(Finding{Rule: "tag-version", File: p.File, Line: p.Line, Job: p.Job, Message: "the tag may name another version than package.json"})
	}
}

// mentionsRefName reports whether anything in the workflow reads the tag's name.
func (w *workflow) mentionsRefName() bool {
	return slices.ContainsFunc(w.lines, func(l string) bool {
		return strings.Contains(l, "GITHUB_REF") || strings.Contains(l, "github.ref")
	})
}

func ids(jobs []*job) []string {
	var all []string
	for _, j := range jobs {
		all = append(all, j.id)
	}
	return all
}

func jobList(names []string) string {
	if len(names) == 1 {
		return "job " + names[0]
	}
	return "jobs " + strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

var eventCondition = regexp.MustCompile(`github\.event_name\s*(==|!=)\s*'([a-z_]+)'`)

// excludesEvent reports whether a job's condition keeps it from running on an event. Only the plain form of
// the condition is understood; anything else counts as if the job ran.
func excludesEvent(condition, event string) bool {
	if condition == "" || strings.Contains(condition, "||") && strings.Contains(condition, "&&") {
		return false
	}
	equal := false
	for _, m := range eventCondition.FindAllStringSubmatch(condition, 20) {
		if m[1] == "!=" && m[2] == event && !strings.Contains(condition, "||") {
			return true
		}
		if m[1] == "==" {
			if m[2] == event {
				return false
			}
			equal = true
		}
	}
	if !equal {
		return false
	}
	// every alternative must ask for another event
	for _, part := range strings.Split(condition, "||") {
		if !eventCondition.MatchString(part) {
			return false
		}
	}
	return true
}

// guardsRef reports whether a job's condition looks at the ref.
func guardsRef(condition string) bool {
	return strings.Contains(condition, "github.ref") || strings.Contains(condition, "github.event_name")
}

// checksOutProposal reports whether a job checks out the code of a pull request.
func (j *job) checksOutProposal() bool {
	for _, s := range j.steps {
		if isAction(s.uses, "actions/checkout") {
			ref := s.with["ref"].value + " " + s.with["repository"].value
			if strings.Contains(ref, "pull_request.head") || strings.Contains(ref, "head_ref") || strings.Contains(ref, "refs/pull/") {
				return true
			}
		}
		for _, cmd := range s.commands {
			if len(cmd.words) > 2 && cmd.words[0] == "gh" && cmd.words[1] == "pr" && cmd.words[2] == "checkout" {
				return true
			}
		}
	}
	return false
}

// Permissions.

func (c *checker) checkTopPermissions(w *workflow) {
	top := w.ast.Permissions
	if top == nil {
		if called, started := w.callable(); called && !started {
			return // its callers decide
		}
		f := Finding{Rule: "permissions-missing", File: w.path, Line: w.keyLine("jobs"), Message: "no permissions at the top of the workflow"}
		all := true
		for _, j := range w.jobs {
			all = all && j.ast.Permissions != nil
		}
		if all {
			f.Message += "; each job states its own today, and one added later gets the default"
			f.edits = w.insertBefore(w.keyLine("jobs"), "permissions: {}", "")
		}
		c.add(f)
		return
	}
	if level, _ := permission(top, "id-token"); level == "write" {
		line := w.keyLine("permissions")
		if s := top.Scopes["id-token"]; s != nil {
			line = lineOf(s.Name, s.Value)
		}
		var also []string
		if value(top.All) == "write-all" {
			also = append(also, "everything else")
		}
		for name, s := range top.Scopes {
			if s != nil && value(s.Value) == "write" && name != "id-token" {
				also = append(also, name)
			}
		}
		slices.Sort(also)
		message := "id-token: write is given at the top of the workflow"
		if len(also) > 0 {
			message += ", together with write access to " + strings.Join(also, ", ")
		}
		if len(w.jobs) > 1 {
			message += fmt.Sprintf(", to %d jobs", len(w.jobs))
		}
		c.add(Finding{Rule: "id-token-workflow-level", File: w.path, Line: line, Message: message})
	}
}

// keyLine returns the line of a key at the top of the workflow's file, 1 where it is not found.
func (w *workflow) keyLine(key string) int {
	for i, l := range w.lines {
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimPrefix(l, `"`), `'`), key); ok {
			rest = strings.TrimLeft(rest, `"' `)
			if strings.HasPrefix(rest, ":") {
				return i + 1
			}
		}
	}
	return 1
}

// checkCall checks a job that calls a workflow and hands it what publishing needs.
func (c *checker) checkCall(j *job) {
	call := j.ast.WorkflowCall
	uses, line := value(call.Uses), lineOf(call.Uses)
	if call.InheritSecrets {
		c.inherits(j)
	}
	if j.callee == nil {
		message := fmt.Sprintf("job %s leaves the work to %s", j.id, uses)
		if _, local := localAction(uses); local {
			message += ", which is not there"
		}
		c.add(Finding{Rule: "publish-elsewhere", File: j.w.path, Line: line, Job: j.id, Message: message})
		if name, v, ok := c.token(j); ok {
			c.add(Finding{Rule: "long-lived-token", File: j.w.path, Line: v.line, Job: j.id, Message: fmt.Sprintf("job %s hands the secret %s to %s", j.id, name, uses)})
		}
		return
	}
	inner := 0
	for _, p := range j.callee.jobs {
		if !p.publishesNPM() {
			continue
		}
		inner++
		if !j.hasIDToken() {
			f := Finding{Rule: "id-token-caller", File: j.w.path, Line: j.line, Job: j.id,
				Message: fmt.Sprintf("job %s calls %s, which publishes, without id-token: write", j.id, j.callee.path)}
			if !c.exposed(j) && !p.checksOutProposal() && !j.deniesIDToken() && !p.deniesIDToken() {
				f.edits = j.grantIDToken()
			}
			c.add(f)
		}
	}
	if name, v, ok := c.token(j); ok {
		c.add(Finding{Rule: "long-lived-token", File: j.w.path, Line: v.line, Job: j.id, Message: fmt.Sprintf("job %s hands the secret %s to %s", j.id, name, j.callee.path)})
	}
	if inner > 0 {
		level := Warn
		if c.hasToken(j) {
			level = Info // then no trusted publisher need be bound
		}
		c.add(Finding{Rule: "reusable-publisher", Level: level, File: j.w.path, Line: line, Job: j.id,
			Message: fmt.Sprintf("%s publishes for %s; a trusted publisher must name %s", j.callee.path, j.w.path, baseName(j.w.path)),
			Fix:     "On npmjs.com: workflow " + baseName(j.w.path)})
	}
}

func baseName(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

func (c *checker) inherits(j *job) {
	line := j.line
	for i := max(j.line-1, 0); i < len(j.w.lines) && i < j.line+60; i++ {
		if strings.HasPrefix(strings.TrimSpace(j.w.lines[i]), "secrets:") {
			line = i + 1
			break
		}
	}
	c.add(Finding{Rule: "secrets-inherit", File: j.w.path, Line: line, Job: j.id, Message: fmt.Sprintf("job %s hands every secret to %s", j.id, value(j.ast.WorkflowCall.Uses))})
}

// References to actions and workflows.

var commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$|^[0-9a-f]{64}$`)

func (c *checker) checkReferences(w *workflow, trusted map[*job]bool) {
	first := map[string]*Finding{}
	var order []string
	others := map[string]int{}
	note := func(f Finding, key string) {
		if first[key] == nil {
			first[key] = &f
			order = append(order, key)
		} else if first[key].Line != f.Line {
			others[key]++
		}
	}
	for _, j := range w.jobs {
		if call := j.ast.WorkflowCall; call != nil {
			uses := value(call.Uses)
			if call.InheritSecrets && !trusted[j] {
				c.inherits(j)
			}
			if _, ref, ok := strings.Cut(uses, "@"); ok && !commitPattern.MatchString(ref) && !strings.HasPrefix(uses, "./") && (trusted[j] || j.hasIDToken()) {
				note(Finding{Rule: "unpinned-workflow", File: w.path, Line: lineOf(call.Uses), Job: j.id, Message: uses + " is not pinned to a commit"}, w.path+uses)
			}
		}
		if !trusted[j] {
			continue
		}
		for _, s := range j.steps {
			switch {
			case s.uses == "":
			case strings.HasPrefix(s.uses, "./"):
			case strings.HasPrefix(s.uses, "$/"):
				note(Finding{Rule: "unusual-action-reference", File: s.file, Line: s.usesLine, Job: j.id, Message: s.uses + " is an unusual reference to a local action"}, "unusual"+s.file)
			case strings.HasPrefix(s.uses, "docker://"):
				if !strings.Contains(s.uses, "@sha256:") {
					note(Finding{Rule: "unpinned-action", File: s.file, Line: s.usesLine, Job: j.id, Message: s.uses + " is not pinned to a digest",
						Fix: "uses: docker://IMAGE@sha256:<64 hex digits>"}, s.file+s.uses)
				}
			default:
				base, ref, _ := strings.Cut(s.uses, "@")
				if !commitPattern.MatchString(ref) {
					who := ""
					if owner, _, _ := strings.Cut(base, "/"); !strings.EqualFold(owner, "actions") && !strings.EqualFold(owner, "github") {
						who = ", and not by GitHub"
					}
					note(Finding{Rule: "unpinned-action", File: s.file, Line: s.usesLine, Job: j.id, Message: s.uses + " is not pinned to a commit" + who,
						Fix: "uses: " + base + "@<40 hex digits> # " + ref}, s.file+s.uses)
				} else if s.file == w.path && s.usesLine >= 1 && s.usesLine <= len(w.lines) {
					_, comment, ok := strings.Cut(w.lines[s.usesLine-1], "#")
					if comment = strings.TrimSpace(comment); ok && commitPattern.MatchString(comment) && comment != ref {
						note(Finding{Rule: "pin-comment", File: w.path, Line: s.usesLine, Job: j.id, Message: "the comment beside " + base + " is a commit, not the version of the pin"}, w.path+"comment"+s.uses)
					}
				}
			}
		}
		if j.ast.Container != nil && j.ast.Container.Image != nil {
			if image := value(j.ast.Container.Image); image != "" && !strings.Contains(image, "@sha256:") && !strings.Contains(image, "${{") {
				note(Finding{Rule: "image-unpinned", File: w.path, Line: lineOf(j.ast.Container.Image), Job: j.id, Message: "the container image " + image + " is named by a tag",
					Fix: "container: " + image + "@sha256:<64 hex digits>"}, w.path+"image"+image)
			}
		}
	}
	for _, key := range order {
		f := *first[key]
		if n := others[key]; n > 0 {
			f.Message += fmt.Sprintf(" (and %d more)", n)
		}
		c.add(f)
	}
}

// What a job that can sign or publish runs.

func (c *checker) checkHolder(j *job) {
	w := j.w
	c.checkDebug(w, j.id, j.env)
	for _, s := range j.steps {
		c.checkDebug(w, j.id, s.env)
		c.checkInjection(j, s)
		if j.publishesNPM() {
			c.checkCache(j, s)
			c.checkTools(j, s)
		}
	}
}

// checkPublisher checks a job that publishes to npm in its own steps.
func (c *checker) checkPublisher(j *job) {
	w := j.w
	last := 0 // index of the last publishing step
	for i, s := range j.steps {
		if slices.ContainsFunc(j.publishes, func(p *publishStep) bool { return p.step == s }) {
			last = i
		}
	}
	before := j.steps[:min(last+1, len(j.steps))]
	c.checkIDToken(j)
	c.checkToken(j)
	c.checkProvenance(j)
	c.checkBuild(j, before)
	c.checkSource(j, before)
	c.checkRunner(j)
	c.checkVersions(j, before)
	for _, s := range before {
		c.checkInstall(j, s)
	}
	if j.ast.Environment == nil {
		c.add(Finding{Rule: "environment-missing", File: w.path, Line: j.line, Job: j.id, Message: fmt.Sprintf("job %s publishes without an environment", j.id)})
	}
	for _, p := range j.publishes {
		if p.Via != "" {
			what := "publishes with " + p.Tool
			if p.Guessed {
				what = "seems to publish"
			}
			c.add(Finding{Rule: "hidden-publish", File: p.File, Line: p.Line, Job: j.id, Message: fmt.Sprintf("%s %s", p.Via, what)})
		}
	}
	if called, started := w.callable(); called && len(c.callers(w)) == 0 {
		level := Warn
		if c.hasToken(j) || !j.hasIDToken() {
			level = Info
		}
		message := w.path + " publishes and can be called: the certificate's signer is this file, the trusted publisher must name its caller"
		if started {
			message += "; started by itself, its own name counts"
		}
		c.add(Finding{Rule: "reusable-publisher", Level: level, File: w.path, Line: w.keyLine("on"), Job: j.id, Message: message})
	}
	if v := c.options.Visibility; v != "" && v != "public" && c.wantsProvenance(j) {
		c.add(Finding{Rule: "private-repository", File: w.path, Line: j.publishes[0].Line, Job: j.id, Message: "this repository is " + v + ", and job " + j.id + " asks for provenance"})
	}
}

func (c *checker) checkIDToken(j *job) {
	if j.hasIDToken() {
		return
	}
	_, stated := j.permission("id-token")
	if called, started := j.w.callable(); called && !stated {
		if len(c.callers(j.w)) > 0 || !started {
			return // the caller's permissions hold, and are checked there
		}
	}
	f := Finding{Rule: "id-token-missing", File: j.w.path, Line: j.line, Job: j.id}
	switch {
	case j.ast.Permissions != nil:
		f.Line = lineOfPermissions(j.ast.Permissions, j.line)
		f.Message = fmt.Sprintf("job %s publishes, and its permissions leave out id-token: write", j.id)
		if l, _ := permission(j.w.ast.Permissions, "id-token"); l == "write" {
			f.Message += "; they replace the workflow's, which have it"
		}
	case stated:
		f.Message = fmt.Sprintf("job %s publishes, and the workflow's permissions leave out id-token: write", j.id)
	default:
		f.Message = fmt.Sprintf("job %s publishes, and no permissions are stated, so there is no id-token", j.id)
	}
	if !c.exposed(j) && !j.deniesIDToken() {
		f.edits = j.grantIDToken()
	}
	c.add(f)
}

// exposed reports whether somebody without write access can start a job, directly or through a workflow that
// calls its own, or chooses the code that it runs. Such a job must not be given an identity without thought.
func (c *checker) exposed(j *job) bool {
	seen := map[*workflow]bool{}
	queue := []*job{j}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if next.startedByOutsiders() || next.checksOutProposal() {
			return true
		}
		if !seen[next.w] {
			seen[next.w] = true
			queue = append(queue, c.callers(next.w)...)
		}
	}
	return false
}

// deniesIDToken reports whether the job or its workflow names id-token and does not grant it.
func (j *job) deniesIDToken() bool {
	for _, p := range []*actionlint.Permissions{j.ast.Permissions, j.w.ast.Permissions} {
		if p == nil {
			continue
		}
		if s := p.Scopes["id-token"]; s != nil && value(s.Value) != "write" {
			return true
		}
	}
	return false
}

func lineOfPermissions(p *actionlint.Permissions, otherwise int) int {
	if p != nil && p.Pos != nil {
		return p.Pos.Line
	}
	return otherwise
}

// Tokens.

// tokenVariable matches the variables in which npm's clients and release tools look for a token.
var tokenVariable = regexp.MustCompile(`(?i)^(node_auth_token|npm_?token|npm_?auth_?token|npm_config_.*_auth(token)?|yarn_npm_auth_token|npm_config__auth|bun_auth_token|npm_publish_token|npm_access_token|npm_secret|publish_token)$`)

// tokenSecret matches the names that secrets with an npm token have.
var tokenSecret = regexp.MustCompile(`(?i)(^|_)npm(js)?(_|$)|npm_?token|node_auth|^publish_token$`)

// token returns what a job logs in to npm with, where it is a secret: the secret's name, and where it is handed over.
func (c *checker) token(j *job) (name string, v variable, ok bool) {
	// A job's own publishes decide what counts, so what is found before they are known is not kept.
	if j.token == nil || !c.publishesKnown {
		name, v, ok := c.findToken(j)
		j.token = &foundToken{name, v, ok}
	}
	return j.token.name, j.token.v, j.token.ok
}

func (c *checker) findToken(j *job) (name string, v variable, ok bool) {
	consider := func(vars map[string]variable) bool {
		for _, n := range slices.Sorted(maps.Keys(vars)) {
			secret := secretName(vars[n].value)
			if secret != "" && (tokenVariable.MatchString(n) || tokenSecret.MatchString(secret)) {
				name, v, ok = secret, vars[n], true
				return true
			}
		}
		return false
	}
	if call := j.ast.WorkflowCall; call != nil {
		for _, n := range slices.Sorted(maps.Keys(call.Secrets)) {
			s := call.Secrets[n]
			if s == nil {
				continue
			}
			secret := secretName(value(s.Value))
			if secret != "" && (tokenVariable.MatchString(n) || tokenSecret.MatchString(n) || tokenSecret.MatchString(secret)) {
				return secret, variable{value(s.Value), lineOf(s.Name, s.Value)}, true
			}
		}
		return "", variable{}, false
	}
	for _, s := range j.steps {
		if c.publishesElsewhere(j, s) {
			continue
		}
		if consider(s.env) || consider(s.with) {
			return name, v, ok
		}
		for _, m := range secretPattern.FindAllStringSubmatchIndex(s.script, 20) {
			secret := s.script[m[2]:m[3]]
			if !strings.EqualFold(secret, "GITHUB_TOKEN") && tokenSecret.MatchString(secret) {
				line := s.runLine
				if !s.folded {
					line += strings.Count(s.script[:m[0]], "\n")
				}
				return secret, variable{s.script[m[0]:m[1]], line}, true
			}
		}
	}
	if len(j.elsewhere) > 0 && len(j.publishes) == 0 {
		return "", variable{}, false
	}
	for _, vars := range []map[string]variable{j.env, j.w.env} {
		if consider(vars) {
			return name, v, ok
		}
	}
	return "", variable{}, false
}

// publishesElsewhere reports whether a step publishes, and not to npm.
func (c *checker) publishesElsewhere(j *job, s *step) bool {
	in := func(p *publishStep) bool { return p.step == s }
	return slices.ContainsFunc(j.elsewhere, in) && !slices.ContainsFunc(j.publishes, in)
}

func (c *checker) hasToken(j *job) bool {
	_, _, ok := c.token(j)
	return ok
}

func (c *checker) checkToken(j *job) {
	name, v, ok := c.token(j)
	if ok {
		message := fmt.Sprintf("job %s publishes with the secret %s", j.id, name)
		if j.hasIDToken() {
			message += ", beside id-token: write"
		}
		c.add(Finding{Rule: "long-lived-token", File: j.w.path, Line: v.line, Job: j.id, Message: message})
	}
	// setup-node writes the .npmrc that reads NODE_AUTH_TOKEN, and only with a registry-url.
	for _, p := range j.publishes {
		if p.tool != nil && (p.tool == toolSemantic || p.tool == toolAction || p.tool == toolYarnNPM || p.tool == toolVlt || p.tool == toolChangesetGH) {
			continue
		}
		_, auth, ok := p.lookup(func(n string) bool { return n == "NODE_AUTH_TOKEN" })
		if !ok || secretName(auth.value) == "" || j.writesAuth() || c.config.readsToken() {
			continue
		}
		for _, s := range j.steps {
			if s == p.step {
				break
			}
			if isAction(s.uses, "actions/setup-node") && s.with["registry-url"].value == "" {
				f := Finding{Rule: "registry-url-missing", File: s.file, Line: s.usesLine, Job: j.id, Message: "actions/setup-node has no registry-url, so nothing reads NODE_AUTH_TOKEN"}
				f.edits = j.w.addInput(s, "registry-url: https://registry.npmjs.org")
				c.add(f)
				break
			}
		}
		break
	}
}

// readsToken reports whether the project's own .npmrc has an auth line.
func (r *npmrc) readsToken() bool {
	return slices.ContainsFunc(r.tokens, func(t tokenLine) bool { return t.file == ".npmrc" && t.forNPM() })
}

// writesAuth reports whether the job writes an auth line, or has a setup action with a registry-url do it.
func (j *job) writesAuth() bool {
	return slices.ContainsFunc(j.steps, func(s *step) bool {
		return strings.Contains(s.script, "_authToken") || strings.Contains(s.script, ".npmrc") || s.with["registry-url"].value != ""
	})
}

// Provenance.

func isProvenanceVariable(n string) bool {
	return strings.EqualFold(n, "npm_config_provenance") || strings.EqualFold(n, "yarn_npm_publish_provenance") || strings.EqualFold(n, "pnpm_config_provenance")
}

// provenanceOf returns what is said about provenance for one publish: "true", "false", or "" for nothing, and
// the line that says it.
func (c *checker) provenanceOf(p *publishStep) (setting, file string, line int) {
	if v, ok := hasFlag(p.flags, "provenance"); ok {
		if v == "false" {
			return "false", p.File, p.Line
		}
		return "true", p.File, p.Line
	}
	if v, ok := p.step.with["provenance"]; ok {
		return boolean(v.value), p.File, v.line
	}
	// publishConfig beats the environment and .npmrc.
	on := 0
	packages := c.manifests.publishable()
	if m := c.manifests.at(p.dir); m != nil && p.tool != nil && p.tool.plain {
		packages = []*manifest{m}
	}
	for _, m := range packages {
		if v := m.publishConfig.provenance; v != nil && *v {
			on++
		}
	}
	if on > 0 && on == len(packages) {
		return "true", packages[0].path, packages[0].line("publishConfig.provenance")
	}
	if _, v, ok := p.lookup(isProvenanceVariable); ok && v.value != "" {
		return boolean(v.value), p.step.file, v.line
	}
	if v := c.config.provenance; v != "" {
		return boolean(v), c.config.provenanceFile, c.config.provenanceLine
	}
	return "", "", 0
}

// boolean reads a setting; what is decided at run time counts as true.
func boolean(s string) string {
	if strings.EqualFold(strings.TrimSpace(s), "false") || s == "0" {
		return "false"
	}
	return "true"
}

func (c *checker) wantsProvenance(j *job) bool {
	return slices.ContainsFunc(j.publishes, func(p *publishStep) bool {
		setting, _, _ := c.provenanceOf(p)
		return setting == "true"
	})
}

func (c *checker) checkProvenance(j *job) {
	token := c.hasToken(j)
	for _, p := range j.publishes {
		setting, file, line := c.provenanceOf(p)
		if setting == "false" {
			switch {
			case file == ".npmrc" || file == ".yarnrc.yml": // said once, for the file
			case p.tool == toolVlt:
				c.add(Finding{Rule: "provenance-off", Level: Warn, File: file, Line: line, Job: j.id, Message: "provenance is switched off for vlt publish, if vlt heeds npm's variable"})
			default:
				c.add(Finding{Rule: "provenance-off", File: file, Line: line, Job: j.id, Message: fmt.Sprintf("provenance is switched off for %s", p.Tool)})
			}
			continue
		}
		if setting == "true" || p.tool == toolAssay {
			continue
		}
		fix := "npm publish --provenance"
		if p.tool != nil {
			fix = p.tool.needs
		}
		switch {
		case p.tool == toolYarn || p.tool == toolBun || p.tool == toolNP:
			c.add(Finding{Rule: "tool-not-told", File: p.File, Line: p.Line, Job: j.id, Message: p.Tool + " makes no provenance in CI", Fix: fix})
		case p.Guessed && !token:
		case token || !c.signs(j):
			if _, stated := j.permission("id-token"); !stated && !token {
				continue // a called workflow, whose caller decides
			}
			f := Finding{Rule: "provenance-missing", File: p.File, Line: p.Line, Job: j.id, Message: fmt.Sprintf("nothing asks for provenance at %s", p.Tool), Fix: fix}
			if c.manifests.root == nil { // where it usually stands, and it is not at hand
				f.Level = Info
			}
			if j.hasIDToken() && !c.exposed(j) && p.Via == "" && p.tool != nil && p.tool.flag && p.tool.plain && p.tool != toolYarnNPM {
				f.edits = j.w.replaceOnce(p.File, p.Line, "publish", "publish --provenance")
			}
			c.add(f)
		default:
			c.add(Finding{Rule: "provenance-implicit", File: p.File, Line: p.Line, Job: j.id, Message: fmt.Sprintf("%s has no --provenance: npm adds it because of trusted publishing", p.Tool), Fix: fix})
		}
	}
	c.checkToolVersion(j, token)
}

// checkToolVersion finds release tools too old for trusted publishing, where the version can be seen.
func (c *checker) checkToolVersion(j *job, token bool) {
	if token || !j.hasIDToken() {
		return
	}
	for _, p := range j.publishes {
		switch p.tool {
		case toolChangesetGH:
			_, v, isSet := p.lookup(func(n string) bool { return n == "NPM_TOKEN" })
			if isSet && v.value == "" {
				continue
			}
			if major, minor, ok := j.w.actionVersion(p.step); ok && (major < 1 || major == 1 && minor >= 0 && minor < 7) {
				c.add(Finding{Rule: "tool-not-told", File: p.File, Line: p.Line, Job: j.id,
					Message: "changesets/action before 1.7.0 writes an .npmrc with a token that is not set, which takes the place of trusted publishing",
					Fix:     "env:\n  NPM_TOKEN: ''"})
			}
		case toolLerna:
			if major, ok := c.dependencyMajor("lerna"); ok && major < 9 {
				c.add(Finding{Rule: "tool-not-told", File: p.File, Line: p.Line, Job: j.id, Message: fmt.Sprintf("lerna %d does not know trusted publishing, lerna 9 does", major), Fix: "npm install --save-dev lerna@9"})
			}
		case toolSemantic:
			if major, ok := c.dependencyMajor("semantic-release"); ok && major < 25 {
				c.add(Finding{Rule: "tool-not-told", File: p.File, Line: p.Line, Job: j.id, Message: fmt.Sprintf("semantic-release %d does not know trusted publishing, semantic-release 25 does", major), Fix: "npm install --save-dev semantic-release@25"})
			}
		case toolPNPM, toolPNPMAll:
			if f := c.manifests.root; f != nil {
				if v, ok := strings.CutPrefix(f.packageManager, "pnpm@"); ok {
					if major, ok := leadingNumber(v); ok && major < 11 {
						c.add(Finding{Rule: "tool-not-told", Level: Info, File: f.path, Line: f.line("packageManager"), Job: j.id,
							Message: fmt.Sprintf("pnpm %d has no trusted-publishing login of its own and leaves the upload to the npm on the runner", major), Fix: "pnpm 11, or npm publish for each package"})
					}
				}
			}
		}
	}
}

// dependencyMajor returns the major version of a root dependency.
func (c *checker) dependencyMajor(name string) (int, bool) {
	if c.manifests.root == nil {
		return 0, false
	}
	want, ok := c.manifests.root.dependencies[name]
	if !ok {
		return 0, false
	}
	return leadingNumber(strings.TrimLeft(want, "^~>=v "))
}

func leadingNumber(s string) (int, bool) {
	end := 0
	for end < len(s) && end < 6 && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(s[:end])
	return n, err == nil
}

var versionPattern = regexp.MustCompile(`^v?(\d{1,6})(?:\.(\d{1,6}))?`)

// actionVersion returns the version of an action by its ref or the comment beside its pin; minor is -1 where
// only the major is told.
func (w *workflow) actionVersion(s *step) (major, minor int, ok bool) {
	_, ref, _ := strings.Cut(s.uses, "@")
	if commitPattern.MatchString(ref) && s.file == w.path && s.usesLine >= 1 && s.usesLine <= len(w.lines) {
		_, ref, _ = strings.Cut(w.lines[s.usesLine-1], "#")
	}
	m := versionPattern.FindStringSubmatch(strings.TrimSpace(ref))
	if m == nil {
		return 0, 0, false
	}
	major, _ = strconv.Atoi(m[1])
	if m[2] == "" {
		return major, -1, true
	}
	minor, _ = strconv.Atoi(m[2])
	return major, minor, true
}
