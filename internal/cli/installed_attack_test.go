package cli_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/internal/lab"
)

// unpack writes a tarball to a place as npm does.
func (w *world) unpack(place string, p *lab.Published) {
	w.t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(p.Tarball))
	if err != nil {
		w.t.Fatal(err)
	}
	for a := tar.NewReader(z); ; {
		h, err := a.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		data, err := io.ReadAll(a)
		if err != nil {
			w.t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		w.write(place+"/"+name, data)
	}
}

// editLock changes the entries of the lockfile.
func (w *world) editLock(change func(packages map[string]any)) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.project, "package-lock.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	var lock map[string]any
	if err := json.Unmarshal(data, &lock); err != nil {
		w.t.Fatal(err)
	}
	change(lock["packages"].(map[string]any))
	if data, err = json.Marshal(lock); err != nil {
		w.t.Fatal(err)
	}
	w.write("package-lock.json", data)
}

// shim is the script that pnpm writes for a command.
func shim(program, flags, target string) string {
	return fmt.Sprintf(`#!/bin/sh
basedir=$(dirname "$(echo "$0" | sed -e 's,\\,/,g')")

case `+"`uname`"+` in
    *CYGWIN*|*MINGW*|*MSYS*)
        if command -v cygpath > /dev/null 2>&1; then
            basedir=`+"`cygpath -w \"$basedir\"`"+`
        fi
    ;;
esac

if [ -x "$basedir/%[1]s" ]; then
  exec "$basedir/%[1]s" %[2]s "$basedir/%[3]s" "$@"
else
  exec %[1]s %[2]s "$basedir/%[3]s" "$@"
fi
`, program, flags, target)
}

// pathShim is one for tool that sets NODE_PATH.
func pathShim(paths string) string {
	return strings.Replace(shim("node", "", "../tool/bin/tool"), "esac\n\n", fmt.Sprintf(`esac

if [ -z "$NODE_PATH" ]; then
  export NODE_PATH="%[1]s"
else
  export NODE_PATH="%[1]s:$NODE_PATH"
fi
`, paths), 1)
}

// TestInstalledAttacks changes a project after it was installed from packages of which each has good provenance:
// whatever Node.js might then load that no package's tarball has is denied, and what install scripts of packages
// with a binary for each platform do is not.
func TestInstalledAttacks(t *testing.T) {
	const lent = "@native/linux"
	elf := "\x7fELF, longer than the script"
	remove := func(name string) func(*world) {
		return func(w *world) {
			if err := os.RemoveAll(filepath.Join(w.project, filepath.FromSlash(name))); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	write := func(name, body string) func(*world) {
		return func(w *world) { w.write(name, []byte(body)) }
	}
	link := func(target, name string) func(*world) {
		return func(w *world) {
			full := filepath.Join(w.project, filepath.FromSlash(name))
			if err := os.RemoveAll(full); err != nil {
				w.t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				w.t.Fatal(err)
			}
			if err := os.Symlink(target, full); err != nil {
				w.t.Skip("no symbolic links here:", err)
			}
		}
	}
	type steps = []func(*world)
	for _, tt := range []struct {
		name string
		args []string
		do   steps
		want string // what tells of it: an other's name, or a package and what of it fails; "" for exit code 0
	}{
		{name: "nothing"},
		{name: "a package inside another", do: steps{write("node_modules/good/node_modules/ms/index.js", "evil")}, want: "good installed-files files-added"},
		{name: "a scoped package inside another", do: steps{write("node_modules/good/node_modules/@s/ms/index.js", "evil")}, want: "good installed-files files-added"},
		{name: "a file before a package", do: steps{write("node_modules/ms.js", "evil")}, want: "ms.js deny"},
		{name: "a file before a scoped package", do: steps{write("node_modules/@native/linux.js", "evil")}, want: "@native/linux.js deny"},
		{name: "a file before a package, inside another", do: steps{write("node_modules/good/node_modules/ms.js", "evil")}, want: "good installed-files files-added"},
		{name: "a file before a package, inside one with install scripts", do: steps{write("node_modules/scripted/node_modules/ms.js", "evil")}, want: "scripted installed-files files-added"},
		{name: "a package deeper inside one with install scripts", do: steps{write("node_modules/scripted/lib/node_modules/ms/index.js", "evil")}, want: "scripted installed-files files-added"},
		{name: "another package's file in the place of one", do: steps{write("node_modules/scripted/index.js", "the planted file")}, want: "scripted installed-files files-changed"},
		{name: "and planted in that package too", do: steps{write("node_modules/tiny/more.js", "evil"), write("node_modules/scripted/index.js", "evil")}, want: "scripted installed-files files-changed"},
		{name: "a file of an optional dependency in the place of one that is no command", do: steps{write("node_modules/tool/index.js", elf)}, want: "tool installed-files files-changed"},
		{name: "a command replaced by what was planted in the optional dependency",
			do: steps{write("node_modules/tool/bin/tool", "evil"), write("node_modules/"+lent+"/bin/tool", "evil")}, want: "tool installed-files files-changed"},
		{name: "a command replaced by a file of what is no optional dependency", do: steps{write("node_modules/tool/bin/tool", "the planted file")}, want: "tool installed-files files-changed"},
		{name: "a file before one of a package with install scripts", do: steps{write("node_modules/scripted/lib.js", "evil")}, want: "scripted installed-files files-added"},
		{name: "another main for a directory of a package with install scripts", do: steps{write("node_modules/scripted/lib/package.json", "{}")}, want: "scripted installed-files files-added"},
		{name: "a package that nobody lists", do: steps{write("node_modules/evil/package.json", `{"name":"evil","version":"1.0.0"}`)}, want: "evil deny"},
		{name: "a scope that nobody lists", do: steps{write("node_modules/@evil/x/index.js", "")}, want: "@evil/x deny"},
		{name: "a directory under a dot name", do: steps{write("node_modules/.prisma/client/index.js", "")}, want: `".prisma" deny`},
		{name: "a package moved away, and a link left", do: steps{write("elsewhere/ms/index.js", ""), link("../elsewhere/ms", "node_modules/ms")}, want: "ms deny"},
		{name: "node_modules of a package linked elsewhere", do: steps{write("elsewhere/ms/index.js", ""), link("../../elsewhere", "node_modules/good/node_modules")}, want: "good installed-files files-added"},
		{name: "and of one with install scripts", do: steps{link("../../elsewhere", "node_modules/scripted/node_modules")}, want: "scripted installed-files files-added"},
		{name: "a scope linked elsewhere", do: steps{link("../elsewhere", "node_modules/@native")}, want: `"@native" deny`},
		{name: "node_modules linked to another name", do: steps{func(w *world) {
			if err := os.Rename(filepath.Join(w.project, "node_modules"), filepath.Join(w.project, "other")); err != nil {
				w.t.Fatal(err)
			}
		}, link("other", "node_modules")}, want: `"node_modules" deny`},
		{name: "a link of a workspace that leads elsewhere", do: steps{write("elsewhere/index.js", ""), link("../elsewhere", "node_modules/part")}, want: "part deny"},
		{name: "a directory in the place of a workspace's link", do: steps{remove("node_modules/part"), write("node_modules/part/index.js", "")}, want: "part deny"},
		{name: "a package in a workspace", do: steps{write("packages/part/node_modules/ms/index.js", "")}, want: "ms deny"},
		{name: "a package that only the lockfile says is bundled", want: "good installed-files files-added", do: steps{
			func(w *world) {
				w.editLock(func(p map[string]any) {
					p["node_modules/good"].(map[string]any)["bundleDependencies"] = []string{"ms"}
					p["node_modules/good/node_modules/ms"] = map[string]any{"version": "9.0.0", "inBundle": true}
				})
			}, write("node_modules/good/node_modules/ms/index.js", "evil"),
		}},

		{name: "a command that no package manager writes", do: steps{write("node_modules/.bin/tool", "#!/bin/sh\nevil\n")}, want: `".bin/tool" deny`},
		{name: "a command that runs what nobody lists", do: steps{write("node_modules/.cache/x", ""), write("node_modules/.bin/tool", "#!/bin/sh\nexec node \"$basedir/../.cache/x\" \"$@\"\n")}, want: `".bin/tool" deny`},
		{name: "a command linked to what nobody lists", do: steps{write("node_modules/.cache/x", ""), link("../.cache/x", "node_modules/.bin/tool")}, want: `".bin/tool" deny`},
		{name: "a command linked out of the project", do: steps{link("/bin/sh", "node_modules/.bin/tool")}, want: `".bin/tool" deny`},
		{name: "a command of a workspace linked to what nobody lists", do: steps{write("node_modules/.cache/x", ""), link("../../../../node_modules/.cache/x", "packages/part/node_modules/.bin/tool")}, want: `".bin/tool" deny`},
		{name: "a file for the directory of commands", do: steps{write("node_modules/.bin", "")}, want: `".bin" deny`},

		{name: "a command that another file of its package is", do: steps{link("../tool/index.js", "node_modules/.bin/tool")}, want: `".bin/tool" deny`},
		{name: "a command that a listed package has under another name", do: steps{link("../tool/bin/tool", "node_modules/.bin/node")}, want: `".bin/node" deny`},
		{name: "a command that is a file of another listed package", do: steps{link("../tiny/planted.js", "node_modules/.bin/tool")}, want: `".bin/tool" deny`},
		{name: "a command that a planted package in a workspace names", do: steps{write("packages/part/node_modules/.cache/evil/package.json", `{"bin":{"tool":"x"}}`), write("packages/part/node_modules/.cache/evil/x", ""),
			link("../.cache/evil/x", "packages/part/node_modules/.bin/tool")}, want: `".bin/tool" deny`},
		{name: "a command that is a file of the project, which none names", do: steps{write("dist/x.js", ""), link("../../dist/x.js", "node_modules/.bin/tool")}, want: `".bin/tool" deny`},
		{name: "a script for another command of a package", do: steps{write("node_modules/.bin/node", shim("node", "", "../tool/bin/tool"))}, want: `".bin/node" deny`},
		{name: "a script that runs a planted program", do: steps{write("node_modules/.bin/evil.exe", "#!/bin/sh\nevil\n"), write("node_modules/.bin/tool", shim("evil.exe", "", "../tool/bin/tool"))}, want: `".bin/evil.exe" deny`},
		{name: "a script that runs a program nearby", do: steps{write("node_modules/.cache/evil", ""), write("node_modules/.bin/tool", shim("../.cache/evil", "", "../tool/bin/tool"))}, want: `".bin/tool" deny`},
		{name: "a script with another program than the file asks for", do: steps{write("node_modules/.bin/tool", shim("sh", "", "../tool/bin/tool"))}, want: `".bin/tool" deny`},
		{name: "a script with flags that the file does not ask for", do: steps{write("node_modules/.cache/index.js", "evil"), write("node_modules/.bin/tool", shim("node", "--require=.cache", "../tool/bin/tool"))}, want: `".bin/tool" deny`},
		{name: "a script that looks for packages elsewhere", do: steps{write("node_modules/.bin/tool", pathShim("/tmp/evil/node_modules"))}, want: `".bin/tool" deny`},
		{name: "a script that looks for packages elsewhere in the project", do: steps{func(w *world) {
			w.write("node_modules/.bin/tool", []byte(pathShim(w.project+"/dist/node_modules")))
		}}, want: `".bin/tool" deny`},
		{name: "a script that runs what Node.js finds by another ending", do: steps{write("node_modules/.cache/x.js", "evil"), write("node_modules/.bin/tool", shim("node", "", "../.cache/x"))}, want: `".bin/tool" deny`},
		{name: "a script that goes by a link", do: steps{link("../.cache/a/b", "node_modules/.bin/tool.d"), write("node_modules/.bin/tool", shim("node", "", "tool.d/../../tool/bin/tool"))}, want: `".bin/tool" deny`},
		{name: "a program for Windows", do: steps{write("node_modules/.bin/tool.exe", "MZ")}, want: `".bin/tool.exe" deny`},
		{name: "what belongs to one", do: steps{write("node_modules/.bin/tool.bunx", "")}, want: `".bin/tool.bunx" deny`},
		{name: "a script for Windows", do: steps{write("node_modules/.bin/tool.cmd", "@evil %*\r\n")}, want: `".bin/tool.cmd" deny`},
		{name: "a script for PowerShell", do: steps{write("node_modules/.bin/tool.ps1", "evil $args\n")}, want: `".bin/tool.ps1" deny`},
		{name: "a directory among commands", do: steps{write("node_modules/.bin/node_modules/x/index.js", "")}, want: `".bin/node_modules" deny`},
		{name: "a command for a package's scripts", do: steps{write("node_modules/scripted/node_modules/.bin/node", "#!/bin/sh\nevil\n")}, want: `".bin/node" deny`},
		{name: "a linked one", do: steps{write("node_modules/.cache/x", ""), link("../../../.cache/x", "node_modules/scripted/node_modules/.bin/node")}, want: `".bin/node" deny`},
		{name: "commands in what is no package", do: steps{write("node_modules/scripted/node_modules/evil/node_modules/.bin/node", "evil")}, want: "scripted installed-files files-added"},
		{name: "a directory under the name of a note", do: steps{write("node_modules/scripted/node_modules/.package-lock.json/index.js", "evil")}, want: "scripted installed-files files-added"},
		{name: "and in the project", do: steps{write("node_modules/.package-lock.json/index.js", "evil")}, want: `".package-lock.json" deny`},

		{name: "commands", do: steps{
			link("../tool/bin/tool", "node_modules/.bin/tool"), link("../gone/cli.js", "node_modules/.bin/gone"), write("packages/part/cli.js", ""),
			write("packages/part/package.json", `{"name": "part", "version": "1.0.0", "bin": "cli.js"}`), link("../part/cli.js", "node_modules/.bin/part"),
			link("../../../tool/bin/tool", "node_modules/scripted/node_modules/.bin/tool"),
		}},
		{name: "commands that are scripts", do: steps{
			write("node_modules/.bin/tool", shim("node", "", "../tool/bin/tool")), write("node_modules/.bin/gone", shim("node", "", "../gone/cli.js")),
			func(w *world) {
				w.write("packages/part/node_modules/.bin/tool", []byte(strings.ReplaceAll(pathShim(w.project+"/node_modules/tool/node_modules:"+w.project+"/node_modules:/node_modules"), "../tool", "../../../../node_modules/tool")))
			},
			write("node_modules/.bin/tool.cmd", "@SETLOCAL\r\n@IF EXIST \"%~dp0\\node.exe\" (\r\n  \"%~dp0\\node.exe\"  \"%~dp0\\..\\tool\\bin\\tool\" %*\r\n) ELSE (\r\n  @SET PATHEXT=%PATHEXT:;.JS;=;%\r\n  node  \"%~dp0\\..\\tool\\bin\\tool\" %*\r\n)\r\n"),
		}},
		{name: "left out packages are listed all the same", args: []string{"--omit", "optional"}},
		{name: "notes of installers", do: steps{
			write("node_modules/.package-lock.json", "{}"), write("node_modules/.cache/x/y.js", ""), write("node_modules/.modules.yaml", ""),
			write("node_modules/.yarn-integrity", ""), write("packages/part/node_modules/.cache/x", ""),
			write("node_modules/good/node_modules/.package-lock.json", "{}"),
		}},
		{name: "made by an install script", do: steps{write("node_modules/scripted/build/x.node", "x"), write("node_modules/tool/bin/other", "x")}},
		{name: "a command replaced by that of an optional dependency", do: steps{write("node_modules/tool/bin/tool", elf)}},
		{name: "and moved", do: steps{write("node_modules/tool/bin/tool", elf), remove("node_modules/" + lent + "/bin/tool")}},
		{name: "moved nowhere", do: steps{remove("node_modules/" + lent + "/bin/tool")}, want: lent + " installed-files files-missing"},
		{name: "a listed package inside another", do: steps{func(w *world) {
			w.editLock(func(p map[string]any) { p["node_modules/good/node_modules/ms"] = p["node_modules/ms"] })
			if err := os.CopyFS(filepath.Join(w.project, "node_modules", "good", "node_modules", "ms"), os.DirFS(filepath.Join(w.project, "node_modules", "ms"))); err != nil {
				w.t.Fatal(err)
			}
		}}},
		{name: "node_modules kept elsewhere", do: steps{func(w *world) {
			to := filepath.Join(w.t.TempDir(), "node_modules")
			if err := os.Rename(filepath.Join(w.project, "node_modules"), to); err != nil {
				w.t.Fatal(err)
			}
			link(to, "node_modules")(w)
			link(filepath.Join(w.project, "packages", "part"), "node_modules/part")(w)
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			scripts := map[string]any{"postinstall": "node install.js"}
			var all []*lab.Published
			for _, p := range []lab.Package{
				{Name: "good", Files: map[string]string{"index.js": "require('ms')"}},
				{Name: "ms", Files: map[string]string{"index.js": ""}},
				{Name: "tiny", Files: map[string]string{"index.js": "", "planted.js": "the planted file"}},
				{Name: "scripted", Files: map[string]string{"index.js": "", "lib/index.js": ""}, Manifest: map[string]any{"scripts": scripts, "dependencies": map[string]string{"tiny": "1"}}},
				{Name: "tool", Files: map[string]string{"index.js": "", "bin/tool": "#!/usr/bin/env node"}, Manifest: map[string]any{
					"scripts": scripts, "bin": map[string]string{"tool": "./bin/tool"}, "dependencies": map[string]string{"tiny": "1"},
					"optionalDependencies": map[string]string{lent: "1", "@native/windows": "1"},
				}},
				{Name: lent, Files: map[string]string{"bin/tool": elf}},
				{Name: "@native/windows", Files: map[string]string{"bin/tool.exe": "MZ"}},
			} {
				all = append(all, w.publish(lab.Release{Package: p, CI: lab.GitHub("acme/" + strings.TrimPrefix(p.Name, "@native/"))}))
			}
			w.lock(all...)
			w.write("package.json", []byte(`{"name": "app", "version": "1.0.0", "workspaces": ["packages/*"], "dependencies": {"good": "1", "ms": "1", "tiny": "1", "scripted": "1", "tool": "1"}}`))
			w.write("packages/part/package.json", []byte(`{"name": "part", "version": "1.0.0"}`))
			w.editLock(func(p map[string]any) {
				p["node_modules/tool"].(map[string]any)["optionalDependencies"] = map[string]string{lent: "1", "@native/windows": "1"}
				p["packages/part"] = map[string]any{"name": "part", "version": "1.0.0"}
				p["node_modules/part"] = map[string]any{"resolved": "packages/part", "link": true}
			})
			for _, p := range all[:len(all)-1] {
				w.unpack("node_modules/"+p.Name, p)
			}
			link("../packages/part", "node_modules/part")(w)
			for _, do := range tt.do {
				do(w)
			}
			r := w.audit(append([]string{"--installed"}, tt.args...)...)
			want := 1
			if tt.want == "" {
				want = 0
			}
			var told []string
			rep := r.report()
			for i := range rep.Packages {
				if p := &rep.Packages[i]; p.Decision != "allow" {
					told = append(told, p.Name+" "+rows(p))
				}
			}
			for _, o := range rep.Others {
				if o.Decision != "allow" || len(o.Findings) > 0 {
					told = append(told, o.Name+" "+string(o.Decision))
				}
			}
			if got := strings.Join(told, "; "); r.code != want || !strings.Contains("; "+got+";", "; "+tt.want+";") && tt.want != "" {
				t.Errorf("exit %d, want %d; told %s, want %s\n%s", r.code, want, got, tt.want, r.stderr)
			}
		})
	}
}
