package doctor

import (
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

const registryNPM = "npm"

// A publishStep is one step, and the command in it, that publishes.
type publishStep struct {
	Publish
	step    *step
	vars    []map[string]variable // the environment, the nearest first
	command command               // of a script; the zero command for an action
	tool    *tool                 // nil where the script was not read
	flags   []string              // words after the tool's name
	scripts []string              // package.json scripts on the way
	dir     string                // directory that it publishes from, "" for the root, "?" where it cannot be known
}

// lookup returns a variable of the publish's environment, that of the command itself first.
func (p *publishStep) lookup(match func(name string) bool) (name string, v variable, ok bool) {
	for name, value := range p.command.env {
		if match(name) {
			return name, variable{value, p.Line}, true
		}
	}
	return lookup(p.vars, match)
}

// A tool is something that publishes packages.
type tool struct {
	name string
	// needs says how the tool is told to make provenance.
	needs string
	// npm says that npm's own command line does the upload in the end, so that its version counts.
	npm bool
	// flag says that --provenance is an option of the command.
	flag bool
	// bumps says that the tool changes versions and commits them itself before it publishes.
	bumps bool
	// plain says that it publishes what is there, so that the tag and the version can differ.
	plain bool
}

const byEnvironment = "env:\n  NPM_CONFIG_PROVENANCE: true"

var (
	toolNPM         = &tool{name: "npm publish", needs: "npm publish --provenance", npm: true, flag: true, plain: true}
	toolNPMStage    = &tool{name: "npm stage publish", needs: "npm stage publish --provenance", npm: true, flag: true, plain: true}
	toolPNPM        = &tool{name: "pnpm publish", needs: byEnvironment, npm: true, flag: true, plain: true}
	toolPNPMAll     = &tool{name: "pnpm -r publish", needs: byEnvironment, npm: true, flag: true}
	toolYarn        = &tool{name: "yarn publish", needs: "npm publish --provenance   # yarn 1 makes no provenance", plain: true}
	toolYarnNPM     = &tool{name: "yarn npm publish", needs: "yarn npm publish --provenance", flag: true, plain: true}
	toolBun         = &tool{name: "bun publish", needs: "npm publish --provenance   # bun publish makes no provenance", plain: true}
	toolVlt         = &tool{name: "vlt publish", needs: "See vlt's documentation; it does not read npm's settings.", plain: true}
	toolAssay       = &tool{name: "assay publish", needs: "assay publish signs always."}
	toolChangesets  = &tool{name: "changeset publish", needs: byEnvironment, npm: true}
	toolLerna       = &tool{name: "lerna publish", needs: byEnvironment, bumps: true}
	toolNx          = &tool{name: "nx release", needs: byEnvironment, npm: true, bumps: true}
	toolSemantic    = &tool{name: "semantic-release", needs: "\"publishConfig\": { \"provenance\": true }", npm: true, bumps: true}
	toolNP          = &tool{name: "np", needs: "np publishes from a terminal; in CI use npm publish --provenance.", npm: true, bumps: true}
	toolReleaseIt   = &tool{name: "release-it", needs: "\"npm\": { \"publishArgs\": [\"--provenance\"] }   # .release-it.json", npm: true, bumps: true}
	toolRush        = &tool{name: "rush publish", needs: byEnvironment, npm: true}
	toolBeachball   = &tool{name: "beachball publish", needs: byEnvironment, npm: true, bumps: true}
	toolAuto        = &tool{name: "auto shipit", needs: byEnvironment, npm: true, bumps: true}
	toolAction      = &tool{name: "", needs: "with:\n  provenance: true", npm: true}
	toolChangesetGH = &tool{name: "changesets/action", needs: byEnvironment, npm: true}
)

// npmValueFlags are npm's and its likes' flags that take the next word.
var npmValueFlags = map[string]bool{"-w": true, "--workspace": true, "--prefix": true, "-C": true, "--dir": true, "--cwd": true,
	"--registry": true, "--tag": true, "--access": true, "--userconfig": true, "--filter": true, "-F": true, "--otp": true, "--loglevel": true}

// arguments tells a command line's plain words from its flags and their values.
func arguments(words []string) (plain []string) {
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "--":
			return append(plain, words[i+1:]...)
		case strings.HasPrefix(w, "-"):
			if npmValueFlags[w] {
				i++
			}
		case strings.HasPrefix(w, ">") || strings.HasPrefix(w, "2>"):
		default:
			plain = append(plain, w)
		}
	}
	return plain
}

// hasFlag reports whether a flag is given, as --name or --name=value; value is "" without one. --no-name gives "false".
func hasFlag(words []string, name string) (value string, ok bool) {
	for i, w := range words {
		switch {
		case w == "--"+name:
			if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				return words[i+1], true
			}
			return "", true
		case strings.HasPrefix(w, "--"+name+"="):
			return w[len(name)+3:], true
		case w == "--no-"+name:
			return "false", true
		}
	}
	return "", false
}

// isDry reports whether a command only says what it would do. A flag whose value is decided at run time does not count.
func isDry(words []string) bool {
	for i, w := range words {
		switch name, value, given := strings.Cut(w, "="); name {
		case "--dry-run", "--dryRun":
			if given {
				return value != "false" && !strings.Contains(value, "$")
			}
			return i+1 == len(words) || words[i+1] != "false" && !strings.HasPrefix(words[i+1], "${{")
		}
	}
	return false
}

// passedOn returns the flags that a package manager hands on to the script that it runs.
func passedOn(words []string) (flags []string) {
	for _, w := range words[1:] {
		if strings.HasPrefix(w, "--") && w != "--" {
			flags = append(flags, w)
		}
	}
	return flags
}

// unwrap drops what only starts another command: npx, pnpm exec, corepack, sudo, node ./node_modules/.bin/x.
func unwrap(words []string) []string {
	for range 6 {
		if len(words) < 2 {
			break
		}
		rest := words[1:]
		skipFlags := func() {
			for len(rest) > 1 && strings.HasPrefix(rest[0], "-") {
				if f := rest[0]; (f == "-p" || f == "--package") && len(rest) > 2 {
					rest = rest[1:]
				}
				rest = rest[1:]
			}
		}
		switch base := path.Base(words[0]); base {
		case "npx", "bunx", "pnpx", "sudo", "exec", "command", "corepack", "env", "time", "dotenv", "cross-env", "nohup", "vpx":
			skipFlags()
			for len(rest) > 1 && strings.Contains(rest[0], "=") {
				rest = rest[1:]
			}
		case "node", "bun", "tsx", "deno":
			skipFlags()
			if base == "bun" && len(rest) > 1 && rest[0] == "x" {
				rest = rest[1:]
			} else if !strings.Contains(rest[0], "node_modules/") {
				return words
			} else if strings.Contains(rest[0], "@changesets/cli") {
				rest = append([]string{"changeset"}, rest[1:]...)
			}
		case "npm", "pnpm", "yarn", "vp":
			i := 0
			for i < len(rest) && strings.HasPrefix(rest[i], "-") {
				if npmValueFlags[rest[i]] {
					i++
				}
				i++
			}
			if i+1 >= len(rest) || rest[i] != "exec" && rest[i] != "x" && rest[i] != "dlx" {
				return words
			}
			rest = rest[i+1:]
			skipFlags()
			if len(rest) > 1 && rest[0] == "--" {
				rest = rest[1:]
			}
		default:
			return words
		}
		if len(rest) == 0 {
			return words
		}
		words = rest
	}
	return words
}

// toolName cuts the path and the version from a command's name: "semantic-release@25.0.1", "@changesets/cli@2".
func toolName(word string) string {
	if at := strings.LastIndex(word, "@"); at > 0 {
		word = word[:at]
	}
	if strings.HasPrefix(word, "@") {
		return word
	}
	return strings.TrimSuffix(strings.TrimSuffix(path.Base(word), ".cmd"), ".js")
}

// publishing recognises a command that publishes. registry is where to, where the tool can only publish
// elsewhere than to npm; ok is false for any other command.
func publishing(c command) (t *tool, registry string, ok bool) {
	words := unwrap(c.words)
	if len(words) == 0 {
		return nil, "", false
	}
	if isDry(words) {
		return nil, "", false
	}
	name, args := toolName(words[0]), arguments(words[1:])
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch name {
	case "npm":
		switch {
		case arg(0) == "publish":
			t = toolNPM
		case arg(0) == "stage" && arg(1) == "publish":
			t = toolNPMStage
		}
	case "pnpm":
		_, filter := hasFlag(words, "filter")
		switch {
		case arg(0) == "publish" && (slices.Contains(words, "-r") || slices.Contains(words, "--recursive") || filter || slices.Contains(words, "-F")),
			(arg(0) == "recursive" || arg(0) == "multi" || arg(0) == "m") && arg(1) == "publish":
			t = toolPNPMAll
		case arg(0) == "publish":
			t = toolPNPM
		}
	case "yarn":
		i := slices.Index(args, "npm")
		switch {
		case arg(0) == "publish":
			t = toolYarn
		case arg(0) == "npm" && arg(1) == "publish",
			i > 0 && (arg(0) == "workspaces" || arg(0) == "workspace") && i+1 < len(args) && args[i+1] == "publish":
			t = toolYarnNPM
		}
	case "bun":
		if arg(0) == "publish" {
			t = toolBun
		}
	case "vlt":
		if arg(0) == "publish" {
			t = toolVlt
		}
	case "assay":
		if arg(0) == "publish" {
			t = toolAssay
		}
	case "changeset", "@changesets/cli":
		if arg(0) == "publish" {
			t = toolChangesets
		}
	case "lerna":
		if arg(0) == "publish" {
			t = toolLerna
		}
	case "nx":
		_, skip := hasFlag(words, "skip-publish")
		if arg(0) == "release" && (arg(1) == "publish" || arg(1) == "" && !skip || strings.HasPrefix(arg(1), "-")) {
			t = toolNx
		}
	case "semantic-release", "multi-semantic-release":
		t = toolSemantic
	case "np":
		t = toolNP
	case "release-it":
		publish, _ := hasFlag(words, "npm.publish")
		upload, _ := hasFlag(words, "npm")
		if publish != "false" && upload != "false" && !slices.Contains(words, "--release-version") && !slices.Contains(words, "--changelog") {
			t = toolReleaseIt
		}
	case "rush":
		if arg(0) == "publish" {
			t = toolRush
		}
	case "beachball":
		if arg(0) == "publish" {
			t = toolBeachball
		}
	case "auto":
		if arg(0) == "shipit" {
			t = toolAuto
		}
	case "jsr":
		if arg(0) == "publish" {
			return &tool{name: name + " publish"}, "JSR", true
		}
	case "deno":
		if arg(0) == "publish" || slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "jsr:") && strings.Contains(w, "publish") }) {
			return &tool{name: name + " publish"}, "JSR", true
		}
	case "pkg-pr-new":
		if arg(0) == "publish" {
			return &tool{name: "pkg-pr-new publish"}, "pkg.pr.new", true
		}
	case "vsce", "@vscode/vsce":
		if arg(0) == "publish" {
			return &tool{name: "vsce publish"}, "Visual Studio Marketplace", true
		}
	case "ovsx":
		if arg(0) == "publish" {
			return &tool{name: "ovsx publish"}, "Open VSX", true
		}
	}
	if t == nil && (name == "pnpm" || name == "yarn" || name == "bun") { // pnpm changeset publish, yarn lerna publish
		for i, w := range words[1:] {
			if !strings.HasPrefix(w, "-") && runnable[w] {
				return publishing(command{words: words[i+1:], env: c.env})
			}
		}
	}
	return t, "", t != nil
}

// runnable are the tools that pnpm, yarn and bun run by their bare name.
var runnable = map[string]bool{"changeset": true, "lerna": true, "nx": true, "semantic-release": true, "multi-semantic-release": true, "release-it": true,
	"np": true, "jsr": true, "pkg-pr-new": true, "vsce": true, "ovsx": true, "beachball": true}

const registryGitLab = "GitLab's package registry"

// gitlabAddress matches the address of GitLab's own npm registry, by its predefined variables or its path.
var gitlabAddress = regexp.MustCompile(`\$\{?CI_(API_V4_URL|SERVER_(HOST|FQDN|URL))\b|/api/v4/(.*/)?packages/npm(/|$)`)

// registryName tells npm's registry from others by the host; "" and what cannot be known count as npm's.
func registryName(address string) string {
	if gitlabAddress.MatchString(address) {
		return registryGitLab
	}
	if address == "" || strings.HasPrefix(address, "$") {
		return registryNPM
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return registryNPM
	}
	switch host := u.Hostname(); host {
	case "registry.npmjs.org", "registry.npmjs.com", "registry.yarnpkg.com":
		return registryNPM
	case "npm.pkg.github.com":
		return "GitHub Packages"
	case "localhost", "127.0.0.1", "::1", "0.0.0.0":
		return "a local registry"
	case "npm.jsr.io":
		return "JSR"
	default:
		if strings.ContainsAny(host, "${}") {
			return registryNPM
		}
		return host
	}
}

// scriptRun returns the name of the package.json script that a command runs.
func scriptRun(words []string) (name string, ok bool) {
	words = unwrap(words)
	if len(words) < 2 {
		return "", false
	}
	args := arguments(words[1:])
	if len(args) == 0 {
		return "", false
	}
	switch path.Base(words[0]) {
	case "npm", "pnpm", "yarn", "bun", "vlt", "vlr", "vp":
		if args[0] == "run" || args[0] == "run-script" || args[0] == "rum" || args[0] == "urn" {
			if len(args) > 1 {
				return args[1], true
			}
			return "", false
		}
	default:
		return "", false
	}
	switch base := path.Base(words[0]); {
	case base == "npm" && (args[0] == "test" || args[0] == "t" || args[0] == "start"):
		return args[0], true
	case base == "pnpm" && !pnpmCommands[args[0]], base == "yarn" && !yarnCommands[args[0]]:
		return args[0], true
	}
	return "", false
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

var (
	pnpmCommands = set("add install i update up upgrade remove rm uninstall un link unlink import rebuild rb prune fetch dedupe audit list ls outdated why licenses exec dlx create publish pack server store root bin setup init deploy doctor env patch patch-commit config c self-update recursive multi m ci install-test it approve-builds cache version view info whoami login logout dist-tag help stage")
	yarnCommands = set("add install remove up upgrade upgrade-interactive link unlink npm publish pack workspace workspaces why info config set cache dlx exec node init import constraints dedupe explain patch patch-commit plugin rebuild search stage unplug version versions audit autoclean bin check create generate-lock-entry global help licenses list login logout outdated owner policies self-update tag team")
)

// releases reports whether a script or program, by its name, may well publish.
func releases(name string) bool {
	name = path.Base(name) // scripts/release/feed.js feeds
	return releasing.MatchString(name) && !announcing.MatchString(name)
}

var announcing = regexp.MustCompile(`(?i)notes?|announce|changelog|(^|[^a-z])(gh|github|dry|docs?|website|check|test|version|pr)([^a-z]|$)`)

var releasing = regexp.MustCompile(`(?i)(^|[^a-z])(publish|release)([^a-z]|$|[A-Z])|publish(ing)?[-_.]|[-_.:]publish`)

// program returns the script file or make target that a command runs, for a guess by its name.
func program(words []string) (name string, ok bool) {
	words = unwrap(words)
	if _, inline := shellArgument(words); len(words) == 0 || inline {
		return "", false
	}
	switch base := path.Base(words[0]); base {
	case "node", "bun", "tsx", "ts-node", "deno", "bash", "sh", "zsh", "python", "python3", "make", "just", "task", "zx", "esno", "jiti", "pwsh":
		for _, w := range arguments(words[1:]) {
			if w != "run" {
				return w, true
			}
		}
	default:
		if strings.Contains(words[0], "/") && !strings.Contains(words[0], "node_modules") {
			return words[0], true
		}
	}
	return "", false
}

// findPublishes fills in the publishing steps of every job.
func (c *checker) findPublishes() {
	for _, w := range c.workflows {
		for _, j := range w.jobs {
			for _, s := range j.steps {
				for _, p := range c.stepPublishes(j, s) {
					p.File, p.Line, p.Job, p.step = w.path, s.line, j.id, s
					p.vars = []map[string]variable{s.env, j.env, w.env}
					if s.action { // the line is in the action's file
						p.File = s.file
					}
					if len(p.command.words) > 0 {
						p.Line = s.at(p.command)
					} else if s.usesLine > 0 {
						p.Line = s.usesLine
					}
					if p.NPM() {
						j.publishes = append(j.publishes, p)
					} else {
						j.elsewhere = append(j.elsewhere, p)
					}
				}
			}
			// A guess is for jobs whose publish cannot be seen.
			isGuess := func(p *publishStep) bool { return p.Guessed }
			if slices.ContainsFunc(j.publishes, func(p *publishStep) bool { return !p.Guessed }) {
				j.publishes = slices.DeleteFunc(j.publishes, isGuess)
			}
			j.publishes = j.publishes[:min(len(j.publishes), maxPublishes)]
			j.elsewhere = j.elsewhere[:min(len(j.elsewhere), maxPublishes)]
			for _, p := range slices.Concat(j.publishes, j.elsewhere) {
				c.publishes = append(c.publishes, p.Publish)
			}
		}
	}
}

// maxScripts bounds how many publishes one step's scripts can unfold into.
const maxScripts = 50

func (c *checker) stepPublishes(j *job, s *step) []*publishStep {
	if s.uses != "" {
		if p := c.actionPublish(s); p != nil {
			return []*publishStep{p}
		}
		return nil
	}
	var all []*publishStep
	for _, cmd := range s.commands {
		if len(all) == maxScripts {
			break
		}
		all = append(all, c.commandPublishes(j, s, cmd)...)
	}
	return all
}

// commandPublishes returns what a command publishes, a package.json script followed one level.
func (c *checker) commandPublishes(j *job, s *step, cmd command) []*publishStep {
	if p := c.directPublish(j, s, cmd); p != nil {
		return []*publishStep{p}
	}
	if isDry(cmd.words) {
		return nil
	}
	name, isScript := scriptRun(cmd.words)
	if isScript {
		if body, ok := c.manifests.script(s.dir, name); ok {
			var all []*publishStep
			for _, inner := range commands(body) {
				inner.line = cmd.line
				if len(inner.words) > 0 && len(all) == 0 { // what is given to the script goes to its commands
					inner.words = append(slices.Clone(inner.words), passedOn(cmd.words)...)
				}
				p := c.directPublish(j, s, inner)
				if p == nil {
					if again, ok := scriptRun(inner.words); ok && releases(again) {
						p = c.guessed(j, cmd, name)
					} else if file, ok := program(inner.words); ok && releases(file) {
						p = c.guessed(j, cmd, name)
					}
				}
				if p != nil {
					p.Via = "script " + name
					p.scripts = append(p.scripts, name)
					p.flags = append(p.flags, cmd.words[1:]...)
					p.command = cmd
					if all = append(all, p); len(all) == maxScripts {
						break
					}
				}
			}
			return all
		}
		if releases(name) {
			if p := c.guessed(j, cmd, name); p != nil {
				p.Via = "script " + name
				return []*publishStep{p}
			}
		}
		return nil
	}
	if file, ok := program(cmd.words); ok && (releases(file) || slices.ContainsFunc(cmd.words, func(w string) bool {
		return strings.HasPrefix(w, "--publish")
	})) {
		if p := c.guessed(j, cmd, file); p != nil {
			p.Via = file
			return []*publishStep{p}
		}
	}
	return nil
}

// guessed takes a script whose name says that it publishes for one that does, if its job has what it takes.
func (c *checker) guessed(j *job, cmd command, name string) *publishStep {
	if j != nil && !j.hasIDToken() && !c.hasToken(j) {
		return nil
	}
	return &publishStep{Publish: Publish{Tool: name, Registry: registryNPM, Guessed: true}, command: cmd, dir: "?"}
}

func (c *checker) directPublish(j *job, s *step, cmd command) *publishStep {
	t, registry, ok := publishing(cmd)
	if !ok {
		return nil
	}
	p := &publishStep{command: cmd, tool: t, flags: unwrap(cmd.words)[1:], dir: s.dir}
	if t == toolReleaseIt && c.manifests.releaseItOff {
		return nil
	}
	p.Tool = t.name
	if registry != "" {
		p.tool, p.Registry = nil, registry
		return p
	}
	args := arguments(p.flags)
	i := slices.Index(args, "publish")
	switch {
	case strings.ContainsAny(s.dir, "$*"):
		p.dir = "?"
	case (t == toolNPM || t == toolNPMStage || t == toolPNPM) && i >= 0 && i+1 < len(args):
		if target := args[i+1]; strings.ContainsAny(target, "$*:@") || strings.HasSuffix(target, ".tgz") {
			p.dir = "?"
		} else {
			p.dir = path.Join(s.dir, target)
		}
	}
	if slices.ContainsFunc(s.commands, func(c command) bool { return len(c.words) > 1 && (c.words[0] == "cd" || c.words[0] == "pushd") }) {
		p.dir = "?"
		for _, other := range s.commands {
			if len(other.words) == 2 && other.words[0] == "cd" && !strings.ContainsAny(other.words[1], "$*") && !strings.HasPrefix(other.words[1], "/") && p.dir == "?" {
				p.dir = path.Join(s.dir, other.words[1])
			}
		}
	}
	p.Registry = c.registryOf(j, s, p)
	return p
}

// registryOf returns where a publish goes to: by its flag, the environment, package.json's publishConfig, .npmrc,
// or a setting that the job makes before.
func (c *checker) registryOf(j *job, s *step, p *publishStep) string {
	vars := []map[string]variable{s.env}
	if j != nil {
		vars = append(vars, j.env, j.w.env)
	} else {
		vars = append(vars, p.vars...)
	}
	named := func(address string) string {
		return registryName(expand(address, func(name string) (string, bool) {
			if value, ok := p.command.vars[name]; ok {
				return value, true
			}
			_, v, ok := lookup(vars, func(n string) bool { return n == name })
			return v.value, ok
		}))
	}
	if v, ok := hasFlag(p.flags, "registry"); ok {
		return named(v)
	}
	isRegistry := func(name string) bool {
		n := strings.ToLower(name)
		return n == "npm_config_registry" || n == "yarn_npm_publish_registry" || n == "vlt_registry" && p.tool == toolVlt
	}
	for name, v := range p.command.env {
		if isRegistry(name) {
			return named(v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.command.vars)) { // exported, if it is to have any use
		if isRegistry(name) {
			return named(p.command.vars[name])
		}
	}
	if j != nil {
		if _, v, ok := j.lookup(s, isRegistry); ok {
			return named(v.value)
		}
	}
	if m := c.manifests.at(p.dir); m != nil && m.publishConfig.registry != "" {
		return registryName(m.publishConfig.registry)
	}
	if j != nil {
		last := ""
		for _, before := range j.steps {
			if before == s {
				break
			}
			for _, cmd := range before.commands {
				w := cmd.words
				if len(w) >= 5 && (w[0] == "npm" || w[0] == "pnpm" || w[0] == "yarn") && w[1] == "config" && w[2] == "set" && w[3] == "registry" {
					last = w[4]
				} else if len(w) >= 4 && w[0] == "npm" && w[1] == "config" && w[2] == "set" && strings.HasPrefix(w[3], "registry=") {
					last = strings.TrimPrefix(w[3], "registry=")
				}
			}
			if isAction(before.uses, "actions/setup-node") {
				if v, ok := before.with["registry-url"]; ok && v.value != "" {
					if _, scoped := before.with["scope"]; !scoped {
						last = v.value
					} else if registryName(v.value) != registryNPM {
						last = v.value
					}
				}
			}
		}
		if last != "" {
			return named(last)
		}
	}
	return registryName(c.config.registry)
}

// isAction reports whether uses names this action, at any ref.
func isAction(uses, name string) bool {
	base, _, _ := strings.Cut(uses, "@")
	return strings.EqualFold(base, name)
}

// anyNPMPublish matches actions whose name says that they publish to npm.
var anyNPMPublish = regexp.MustCompile(`(?i)npm[-_]?publish|publish[-_]?(to[-_])?npm|semantic-release-action`)

func (c *checker) actionPublish(s *step) *publishStep {
	base, _, _ := strings.Cut(s.uses, "@")
	lower := strings.ToLower(base)
	p := &publishStep{Publish: Publish{Tool: base, Registry: registryNPM}, dir: "?"}
	dry := s.with["dry-run"].value
	if dry == "true" || s.with["dry_run"].value == "true" {
		return nil
	}
	switch {
	case lower == "changesets/action":
		script := s.with["publish"].value
		if script == "" {
			return nil // it only keeps the release pull request
		}
		p.tool = toolChangesetGH
		for _, cmd := range commands(script) {
			name, ok := scriptRun(cmd.words)
			if !ok {
				continue
			}
			if body, ok := c.manifests.script("", name); ok {
				for _, inner := range commands(body) {
					p.flags = append(p.flags, inner.words...)
				}
			}
			p.scripts = append(p.scripts, name)
			p.Via = "script " + name
		}
		p.flags = append(p.flags, strings.Fields(script)...)
	case lower == "changesets/action/publish":
		p.tool = toolChangesetGH
	case strings.Contains(lower, "semantic-release"):
		p.tool = toolSemantic
	case lower == "js-devtools/npm-publish":
		p.tool = toolAction
		if v := s.with["package"].value; v != "" && !strings.ContainsAny(v, "$*") {
			p.dir = strings.TrimSuffix(path.Clean(v), "/package.json")
		} else if v == "" {
			p.dir = ""
		}
		p.Registry = registryName(s.with["registry"].value)
	case anyNPMPublish.MatchString(lower) && !strings.HasPrefix(lower, "./"):
		p.tool = toolAction
		for _, in := range []string{"registry", "registry-url", "registry_url"} {
			if v := s.with[in].value; v != "" {
				p.Registry = registryName(v)
			}
		}
	case lower == "denoland/publish", lower == "jsr-io/publish":
		p.Registry = "JSR"
	default:
		return nil
	}
	return p
}
