package inventory

import (
	"errors"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A shimKind is one language in which package managers write a script that starts a command.
//
// The words are those of npm's cmd-shim 3 to 8 (npm 6 and later) and of @zkochan/cmd-shim 3 and 5 to 9 (yarn 1 and 4,
// pnpm 7 and later), index.js of each: lines without space around them, less empty ones and comments.
type shimKind struct {
	target   *regexp.Regexp // finds the file that is run
	slash    string         // between the names of its path
	paths    *regexp.Regexp // finds what NODE_PATH is set to
	trim     string         // goes off the ends of lines
	comments bool           // a line that begins with "# " is none
	shapes   []string       // with names in braces for what differs
}

var shimKinds = map[string]*shimKind{
	"": {
		target: regexp.MustCompile("\"\\$basedir/([^\"$`\\\\[:cntrl:]]+)\" +\"\\$@\""), slash: "/", trim: " \t", comments: true,
		paths: regexp.MustCompile("(?m)^ *export NODE_PATH=\"([^\"$`\\\\[:cntrl:]]+)\"$"), shapes: shapesOf(shapesOf(shellHeads, shellPaths), shellRuns),
	},
	".cmd": {
		target: regexp.MustCompile(`"%(?:~dp0|dp0%)\\([ !#$&-~]+)" +%\*`), slash: `\`, trim: " \t\r",
		paths: regexp.MustCompile(`(?m)^ *@SET "NODE_PATH=([^"%[:cntrl:]]+)"\r?$`), shapes: batchShapes,
	},
	// PowerShell takes other marks for quotes too, some of them as bytes of UTF-8 in another encoding.
	".ps1": {
		target: regexp.MustCompile(`"\$basedir/([ !#%-\[\]-_a-~]+)" +\$args`), slash: "/", trim: " \t\r", comments: true,
		paths: regexp.MustCompile("(?m)^ *\\$new_node_path=\"([^\"$`[:cntrl:]]+)\"\r?$"), shapes: powerShapes,
	},
}

// A runner is how a script starts a file: by the program that the file's first line asks for, or, without one, itself.
type runner struct{ vars, prog, args string }

// The first line of a script: variables, the program, what comes after it. First as npm's cmd-shim reads it since version 6,
// then as it did and as @zkochan/cmd-shim does.
var shebangs = []*regexp.Regexp{
	regexp.MustCompile(`^#!\s*(?:/usr/bin/env\s+(?:-S\s+)?((?:[^ \t=]+=[^ \t=]+\s+)*))?([^ \t]+)(.*)$`),
	regexp.MustCompile(`^#!\s*(?:/usr/bin/env)?\s*((?:[^ \t=]+=[^ \t=]+\s+)*)([^ \t]+)(.*)$`),
	regexp.MustCompile(`^#!\s*(?:/usr/bin/env(?:\s+-S\s*)?)?\s*()([^ \t]+)(.*)$`),
}

// runners returns how package managers may start a file with a first line.
func runners(first, file string) []runner {
	all := []runner{{}}
	add := func(vars, prog, args string) {
		links := "--preserve-symlinks" // an option of @zkochan/cmd-shim
		if args != "" {
			links = args + " " + links
		}
		for _, args := range []string{args, strings.TrimSpace(args), links} {
			if r := (runner{vars, prog, args}); !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	script := false
	for _, expr := range shebangs {
		if m := expr.FindStringSubmatch(first); m != nil {
			script = true
			add(m[1], m[2], m[3])
		}
	}
	if script {
		return all
	}
	add("", "node", "")
	switch strings.ToLower(path.Ext(file)) {
	case ".cmd", ".bat":
		add("", "cmd", "/C")
	case ".ps1":
		add("", "pwsh", "")
	case ".sh":
		add("", "sh", "")
	}
	return all
}

// firstLine returns the first line of a file, less white space before it.
func firstLine(name string) (string, error) {
	const most = 4 << 10
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(string(data), "\ufeff")), "\n")
	return strings.TrimRight(line, "\r"), nil
}

// A shim is what a script says by which it starts a command.
type shim struct {
	text   string   // its lines, as in a shape
	target string   // the file that it runs, from its directory
	paths  []string // what NODE_PATH is set to, of Windows before that of others
}

// read finds what a script runs, which holds only once one of the shapes is found to be its own.
func (k *shimKind) read(script string) (*shim, error) {
	all := k.target.FindAllStringSubmatch(script, -1)
	if all == nil {
		return nil, errors.New("it runs nothing in the words of one")
	}
	s := &shim{target: strings.ReplaceAll(all[len(all)-1][1], k.slash, "/")}
	for _, m := range k.paths.FindAllStringSubmatch(script, 2) {
		s.paths = append(s.paths, m[1])
	}
	var lines []string
	for line := range strings.SplitSeq(script, "\n") {
		if line = strings.Trim(line, k.trim); line != "" && (!strings.HasPrefix(line, "# ") || !k.comments) {
			lines = append(lines, line)
		}
	}
	s.text = strings.Join(lines, "\n")
	return s, nil
}

// is reports whether a script is one that package managers write to start its target by one of the runners.
func (k *shimKind) is(s *shim, by []runner) bool {
	target := strings.ReplaceAll(s.target, "/", k.slash)
	paths := append(slices.Clone(s.paths), "", "")
	for _, shape := range k.shapes {
		if before, _, _ := strings.Cut(shape, "{"); !strings.HasPrefix(s.text, strings.TrimRight(before, " ")) {
			continue
		}
		for _, r := range by {
			if strings.Contains(shape, "{prog}") != (r.prog != "") {
				continue
			}
			var sets strings.Builder
			for _, v := range strings.Fields(r.vars) {
				sets.WriteString("@SET " + v + "\n")
			}
			made := strings.NewReplacer("{vars}", r.vars, "{sets}", sets.String(), "{prog}", r.prog, "{slashed}", strings.ReplaceAll(r.prog, `\`, "/"),
				"{args}", r.args, "{target}", target, "{paths}", paths[0], "{posix}", paths[1]).Replace(shape)
			lines := strings.Split(made, "\n")
			for i := range lines {
				lines[i] = strings.TrimSpace(lines[i])
			}
			if strings.Join(lines, "\n") == s.text {
				return true
			}
		}
	}
	return false
}

// shapesOf puts together each beginning and each end.
func shapesOf(befores, runs []string) []string {
	var all []string
	for _, before := range befores {
		for _, run := range runs {
			all = append(all, before+run)
		}
	}
	return all
}

const shellBase = "#!/bin/sh\nbasedir=$(dirname \"$(echo \"$0\" | sed -e 's,\\\\,/,g')\")\ncase `uname` in\n"

var (
	shellHeads = []string{
		shellBase + "*CYGWIN*|*MINGW*|*MSYS*)\nif command -v cygpath > /dev/null 2>&1; then\nbasedir=`cygpath -w \"$basedir\"`\nfi\n;;\nesac\n",
		shellBase + "*CYGWIN*) basedir=`cygpath -w \"$basedir\"`;;\nesac\n",
		shellBase + "*CYGWIN*|*MINGW*|*MSYS*) basedir=`cygpath -w \"$basedir\"`;;\nesac\n",
		`#!/bin/sh
link="$0"
hops=0
while [ -L "$link" ] && [ "$hops" -lt 40 ]; do
hops=$((hops+1))
target=$(readlink "$link")
case "$target" in
/*) link="$target" ;;
*)  link="$(dirname "$link")/$target" ;;
esac
done
basedir=$(dirname "$(echo "$link" | sed -e 's,\\,/,g')")
basedir_win="$basedir"
exe=""
msys=""
case ` + "`uname -a`" + ` in
*CYGWIN*|*MINGW*|*MSYS*)
if command -v cygpath > /dev/null 2>&1; then
basedir_win=` + "`cygpath -w \"$basedir\"`" + `
fi
exe=".exe"
msys="true"
;;
*WSL2*)
if command -v wslpath > /dev/null 2>&1; then
basedir_win="$(wslpath -w "$basedir" 2> /dev/null)"
if [ $? -ne 0 ] || [ -z "$basedir_win" ]; then
basedir_win="$basedir"
else
exe=".exe"
fi
fi
;;
esac
`,
	}
	shellPaths = []string{
		"",
		"if [ -z \"$NODE_PATH\" ]; then\nexport NODE_PATH=\"{paths}\"\nelse\nexport NODE_PATH=\"{paths}:$NODE_PATH\"\nfi\n",
		"if [ -z \"$NODE_PATH\" ]; then\nexport NODE_PATH=\"{paths}\"\nelse\nexport NODE_PATH=\"$NODE_PATH:{paths}\"\nfi\n",
	}
	shellRuns = []string{
		`if [ -x "$basedir/{prog}" ]; then
exec {vars}"$basedir/{prog}" {args} "$basedir/{target}" "$@"
else
exec {vars}{slashed} {args} "$basedir/{target}" "$@"
fi`,
		`if [ -x "$basedir/{prog}" ]; then
{vars}"$basedir/{prog}" {args} "$basedir/{target}" "$@"
ret=$?
else
{vars}{slashed} {args} "$basedir/{target}" "$@"
ret=$?
fi
exit $ret`,
		`if [ -n "$exe" ] && [ -x "$basedir/{prog}.exe" ]; then
exec "$basedir/{prog}.exe" {args} "$basedir_win/{target}" "$@"
elif [ -x "$basedir/{prog}" ]; then
exec "$basedir/{prog}" {args} "$basedir/{target}" "$@"
elif command -v {slashed} >/dev/null 2>&1; then
exec {slashed} {args} "$basedir/{target}" "$@"
elif [ -n "$exe" ] && command -v {slashed}.exe >/dev/null 2>&1; then
exec {slashed}.exe {args} "$basedir_win/{target}" "$@"
else
exec {slashed} {args} "$basedir/{target}" "$@"
fi`,
		`exec "$basedir/{target}"   "$@"`,
		"\"$basedir/{target}\"   \"$@\"\nexit $?",
		"exec \"$basedir/{target}\"   \"$@\"\nexit $?",
	}
)

const (
	batchProgram = `{sets}IF EXIST "%dp0%\{prog}.exe" (
SET "_prog=%dp0%\{prog}.exe"
) ELSE (
SET "_prog={prog}"
SET PATHEXT=%PATHEXT:;.JS;=;%
)
`
	batchStart = "@ECHO off\nGOTO start\n:find_dp0\nSET dp0=%~dp0\nEXIT /b\n:start\nSETLOCAL\nCALL :find_dp0\n"
	batchFirst = "@ECHO off\nSETLOCAL\nCALL :find_dp0\n"
	batchLast  = "\nENDLOCAL\nEXIT /b %errorlevel%\n:find_dp0\nSET dp0=%~dp0\nEXIT /b"
)

var batchRuns = []string{
	`@IF EXIST "%~dp0\{prog}.exe" (
"%~dp0\{prog}.exe" {args} "%~dp0\{target}" %*
) ELSE (
@SET PATHEXT=%PATHEXT:;.JS;=;%
{prog} {args} "%~dp0\{target}" %*
)`,
	`@"%~dp0\{target}"   %*`,
}

var batchShapes = slices.Concat([]string{
	batchStart + batchProgram + `endLocal & goto #_undefined_# 2>NUL || title %COMSPEC% & "%_prog%" {args} "%dp0%\{target}" %*`,
	batchStart + `"%dp0%\{target}"   %*`,
	batchFirst + batchProgram + `"%_prog%" {args} "%dp0%\{target}" %*` + batchLast,
	batchFirst + `"%dp0%\{target}"   %*` + batchLast,
	strings.Replace(batchRuns[0], ") ELSE (\n", ") ELSE (\n@SETLOCAL\n", 1), batchRuns[1],
}, shapesOf([]string{
	"@SETLOCAL\n",
	"@SETLOCAL\n@IF NOT DEFINED NODE_PATH (\n@SET \"NODE_PATH={paths}\"\n) ELSE (\n@SET \"NODE_PATH={paths};%NODE_PATH%\"\n)\n",
	"@SETLOCAL\n@IF NOT DEFINED NODE_PATH (\n@SET \"NODE_PATH={paths}\"\n) ELSE (\n@SET \"NODE_PATH=%NODE_PATH%;{paths}\"\n)\n",
}, batchRuns))

const (
	powerHead = "#!/usr/bin/env pwsh\n$basedir=Split-Path $MyInvocation.MyCommand.Definition -Parent\n$exe=\"\"\n"
	powerIf   = "if ($PSVersionTable.PSVersion -lt \"6.0\" -or $IsWindows) {\n$exe=\".exe\"\n"
)

var powerRuns = []string{
	`$ret=0
if (Test-Path "$basedir/{slashed}$exe") {
if ($MyInvocation.ExpectingInput) {
$input | & "$basedir/{prog}$exe" {args} "$basedir/{target}" $args
} else {
& "$basedir/{prog}$exe" {args} "$basedir/{target}" $args
}
$ret=$LASTEXITCODE
} else {
if ($MyInvocation.ExpectingInput) {
$input | & "{slashed}$exe" {args} "$basedir/{target}" $args
} else {
& "{slashed}$exe" {args} "$basedir/{target}" $args
}
$ret=$LASTEXITCODE
}
exit $ret`,
	`$ret=0
if (Test-Path "$basedir/{prog}$exe") {
& "$basedir/{prog}$exe" {args} "$basedir/{target}" $args
$ret=$LASTEXITCODE
} else {
& "{slashed}$exe" {args} "$basedir/{target}" $args
$ret=$LASTEXITCODE
}
exit $ret`,
	`if ($MyInvocation.ExpectingInput) {
$input | & "$basedir/{target}"   $args
} else {
& "$basedir/{target}"   $args
}
exit $LASTEXITCODE`,
	`& "$basedir/{target}"   $args
exit $LASTEXITCODE`,
}

// powerShapes also has those that set NODE_PATH, and put it back.
var powerShapes = func() []string {
	all := shapesOf([]string{powerHead + powerIf + "}\n"}, powerRuns)
	for _, order := range []string{"$new_node_path$pathsep$env_node_path", "$env_node_path$pathsep$new_node_path"} {
		before := powerHead + "$pathsep=\":\"\n$env_node_path=$env:NODE_PATH\n$new_node_path=\"{paths}\"\n" + powerIf + "$pathsep=\";\"\n} else {\n$new_node_path=\"{posix}\"\n}\n" +
			"if ([string]::IsNullOrEmpty($env_node_path)) {\n$env:NODE_PATH=$new_node_path\n} else {\n$env:NODE_PATH=\"" + order + "\"\n}\n"
		for _, run := range powerRuns {
			i := strings.LastIndex(run, "exit ")
			all = append(all, before+run[:i]+"$env:NODE_PATH=$env_node_path\n"+run[i:])
		}
	}
	return all
}()
