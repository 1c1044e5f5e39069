package inventory

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPackageLock(t *testing.T) {
	tests := []struct {
		file, wantErr string // in testdata/package-lock; wantErr is a substring, empty means success
		want          string // as summary writes it
	}{
		{file: "alias-unasked-transitive.v3.json", want: `
a@1.0.0 direct at node_modules/a:15 via app>a
evil@1.2.3 alias=left odd direct at node_modules/left:23 via app>left
suspicious alias-unasked at alias-unasked-transitive.v3.json:23: "node_modules/left" holds "evil", but what asks for it ("^1.0.0") does not name that package
`},
		{file: "alias-unasked.v3.json", want: `
evil@1.2.3 alias=left odd direct at node_modules/left:14 via app>left
suspicious alias-unasked at alias-unasked.v3.json:14: "node_modules/left" holds "evil", but what asks for it ("^1.0.0") does not name that package
`},
		{file: "alias.v1.json", want: `
@acme/widget@1.2.3 alias=old direct at node_modules/old:7 via app>old
`},
		{file: "alias.v3.json", want: `
@acme/widget@1.2.3 alias=old direct at node_modules/old:14 via app>old
`},
		{file: "bom.v3.json", want: `
left@1.0.0 direct at node_modules/left:14 via app>left
warning byte-order-mark at bom.v3.json:1: begins with a byte order mark
`},
		{file: "bundled-fetched.v3.json", want: `
fat@1.0.0 direct at node_modules/fat:14 via app>fat
in@1.0.0 no-integrity resolved=https://evil.example/in.tgz at node_modules/fat/node_modules/in:25 via app>fat>in
`},
		{file: "bundled-unproven.v3.json", want: `
fat@1.0.0 direct at node_modules/fat:14 via app>fat
in@1.0.0 no-integrity resolved= odd at node_modules/fat/node_modules/in:22 via app>fat>in
suspicious bundled-unproven at bundled-unproven.v3.json:22: "node_modules/fat/node_modules/in" is marked as bundled, but nothing above it bundles it
`},
		{file: "bundled.v1.json", want: `
fat@1.0.0 direct at node_modules/fat:7 via app>fat
bundled: deep@1.0.0 spec=1 in=fat@1.0.0 at node_modules/fat/node_modules/deep:23 via app>fat>in>deep
bundled: in@1.0.0 spec=1 in=fat@1.0.0 at node_modules/fat/node_modules/in:15 via app>fat>in
`},
		{file: "bundled.v3.json", want: `
fat@1.0.0 direct at node_modules/fat:18 via app>fat
own@1.0.0 direct at node_modules/own:40 via app>own
bundled: deep@1.0.0 spec=1 in=fat@1.0.0 at node_modules/fat/node_modules/deep:36 via app>fat>in>deep
bundled: in@1.0.0 spec=1 in=fat@1.0.0 at node_modules/fat/node_modules/in:29 via app>fat>in
`},
		{file: "crlf.v3.json", want: `
left@1.0.0 direct at node_modules/left:14 via app>left
`},
		{file: "cycle.v3.json", want: `
a@1.0.0 direct at node_modules/a:14 via app>a
b@1.0.0 at node_modules/b:22 via app>a>b
c@1.0.0 at node_modules/c:31 via app>a>b>c
`},
		{file: "dir-with-integrity.v3.json", want: `
left@1.0.0 odd extraneous at lib/left:11
suspicious outside-node-modules at dir-with-integrity.v3.json:11: "lib/left" has resolved or integrity, but lies in no node_modules
`},
		{file: "elsewhere.v3.json", want: `
left@1.0.0 resolved=https://evil.example/x.tgz direct at node_modules/left:14 via app>left
`},
		{file: "empty.v1.json", want: "\n"},
		{file: "extraneous.v3.json", want: `
bare@1.0.0 no-integrity resolved= extraneous at node_modules/bare:11
elsewhere@1.0.0 no-integrity resolved=https://files.example/x.tgz extraneous at node_modules/elsewhere:15
git: repo@1.0.0 resolved=git+ssh://git@github.com/a/b.git#01 extraneous at node_modules/repo:19
file: tar@1.0.0 resolved=file:tar.tgz extraneous at node_modules/tar:23
`},
		{file: "file-for-range.v3.json", want: `
left@1.0.0 no-integrity resolved=file:evil.tgz direct at node_modules/left:14 via app>left
`},
		{file: "file.v3.json", want: `
inner@1.0.0 at node_modules/inner:30 via app>dir>inner
link: dir@3.0.0 spec=file:dir direct at node_modules/dir:26 dir:20 via app>dir
file: left@1.0.0 spec=file:vendor/left.tgz resolved=file:vendor/left.tgz direct at node_modules/left:15 via app>left
`},
		{file: "flag-edited.v3.json", want: `
left@1.0.0 direct at node_modules/left:14 via app>left
`},
		{file: "git-and-range.v3.json", want: `
a@1.0.0 direct at node_modules/a:15 via app>a
git: left@1.0.0 spec=github:acme/left resolved=git+ssh://git@github.com/acme/left.git#0123456789012345678901234567890123456789 direct at node_modules/left:23 via app>left
`},
		{file: "git-for-range.v3.json", want: `
left@1.0.0 no-integrity resolved=git+ssh://git@evil.example/left.git#01 direct at node_modules/left:14 via app>left
`},
		{file: "git.v3.json", want: `
git: left@1.0.0 spec=github:acme/left resolved=git+ssh://git@github.com/acme/left.git#0123456789012345678901234567890123456789 direct at node_modules/left:14 via app>left
`},
		{file: "halves-differ.v2.json", want: `
left@1.0.0 odd direct at node_modules/left:15 via app>left
right@1.0.0 odd direct at node_modules/right:20 via app>right
unknown: extra@ odd at node_modules/extra:35
suspicious halves-differ at halves-differ.v2.json:27: "node_modules/left" is "left@1.0.0 https://registry.npmjs.org/left/-/left-1.0.0.tgz sha512-left10000" in packages (line 15) but "left@1.0.0 https://registry.npmjs.org/left/-/left-1.0.0.tgz sha512-evil" in the dependencies that npm 6 reads
suspicious halves-differ at halves-differ.v2.json:32: "node_modules/right" is "right@1.0.0 https://registry.npmjs.org/right/-/right-1.0.0.tgz sha512-ight10000" in packages (line 20) but "right@ https://evil.example/right.tgz" in the dependencies that npm 6 reads
suspicious halves-differ at halves-differ.v2.json:35: "node_modules/extra" stands only in the dependencies that npm 6 reads
`},
		{file: "halves.v2.json", want: `
left@1.0.0 alias=old direct at node_modules/left:17 node_modules/old:22 via app>left
link: dir@1.0.0 spec=file:dir direct at node_modules/dir:31 dir:28 via app>dir
git: repo@1.0.0 spec=github:a/b resolved=git+ssh://git@github.com/a/b.git#01 direct at node_modules/repo:35 via app>repo
`},
		{file: "kinds.v3.json", want: `
both@1.0.0 direct dev at node_modules/both:54 via app>both
both2@1.0.0 direct optional at node_modules/both2:72 via app>both2
dev@1.0.0 direct dev at node_modules/dev:45 via app>dev
maybe@1.0.0 direct extraneous at node_modules/maybe:90 via app>maybe
opt@1.0.0 direct optional at node_modules/opt:60 via app>opt
peer@1.0.0 direct peer at node_modules/peer:84 via app>peer
peer2@1.0.0 peer at node_modules/peer2:39 via app>prod>peer2
prod@1.0.0 direct at node_modules/prod:31 via app>prod
shared@1.0.0 devOptional at node_modules/shared:78 via app>dev>shared
`},
		{file: "link-for-range.v3.json", want: `
link: left@1.0.0 spec=^1.0.0 odd direct at node_modules/left:17 tmp/left:14 via app>left
suspicious link-unasked at link-for-range.v3.json:17: "left" is asked for by version ("^1.0.0") but is a link to the directory "tmp/left"
`},
		{file: "link-missing.v3.json", want: `
link: dir@ spec=file:dir resolved=dir direct at node_modules/dir:14 via app>dir
warning link-target-missing at link-missing.v3.json:14: "node_modules/dir" is a link to "dir", which is not listed
`},
		{file: "link-outside.v3.json", want: `
link: dir@3.0.0 spec=file:../dir direct at node_modules/dir:17 ../dir:14 via app>dir
`},
		{file: "link-to-other.v3.json", want: `
evil@1.0.0 odd direct at node_modules/evil:18 via app>evil
unknown: left@ resolved=node_modules/evil odd at node_modules/left:14
suspicious link-unasked at link-to-other.v3.json:14: "left" is asked for by version ("^1.0.0") but is a link to "node_modules/evil", which holds "evil"
suspicious alias-unasked at link-to-other.v3.json:18: "node_modules/evil" holds "evil", but what asks for it ("^1.0.0") does not name that package
`},
		{file: "nested.v1.json", want: `
@acme/widget@1.2.3 direct at node_modules/@acme/widget:7 via app>@acme/widget
left@1.0.0 at node_modules/@acme/widget/node_modules/left:15 via app>@acme/widget>left
left@2.0.0 direct dev at node_modules/left:22 via app>left
opt@1.0.0 direct optional at node_modules/opt:28 via app>opt
`},
		{file: "no-resolved.v3.json", want: `
bare@1.0.0 no-integrity resolved= extraneous at node_modules/bare:18
left@1.0.0 resolved= direct at node_modules/left:14 via app>left
`},
		{file: "no-root.v3.json", want: `
left@1.0.0 direct at node_modules/left:7 via app>left
right@1.0.0 at node_modules/right:15 via app>left>right
tool@1.0.0 direct at node_modules/tool:20 via app>tool
unknown: no-root.v3.json@ odd at no-root.v3.json:1
suspicious root-missing at no-root.v3.json:1: packages has no entry for the project itself
`},
		{file: "one-line.v3.json", want: `
left@1.0.0 direct at node_modules/left:1 via app>left
`},
		{file: "others.v1.json", want: `
left@1.0.0 at ../dir/node_modules/left:29 via app>dir>left
link: dir@ direct at node_modules/dir:23 ../dir:23 via app>dir
file: local@ spec=file:local.tgz resolved=file:local.tgz direct at node_modules/local:19 via app>local
git: repo@ spec=git+ssh://git@github.com/a/b.git#0123456789012345678901234567890123456789 resolved=git+ssh://git@github.com/a/b.git#0123456789012345678901234567890123456789 direct at node_modules/repo:7 via app>repo
git: short@ spec=github:a/b#0123456789012345678901234567890123456789 resolved=github:a/b#0123456789012345678901234567890123456789 direct at node_modules/short:11 via app>short
url: tar@1.0.0 spec=https://files.example/tar-1.0.0.tgz resolved=https://files.example/tar-1.0.0.tgz direct at node_modules/tar:15 via app>tar
`},
		{file: "same-twice.v3.json", want: `
a@1.0.0 direct at node_modules/a:16 via app>a
b@1.0.0 direct at node_modules/b:29 via app>b
left@1.0.0 at node_modules/a/node_modules/left:24 node_modules/b/node_modules/left:37 via app>a>left
left@2.0.0 direct at node_modules/left:42 via app>left
`},
		{file: "scoped.v3.json", want: `
@acme/widget@1.2.3 scripts direct at node_modules/@acme/widget:17 via app>@acme/widget
left@1.0.0 at node_modules/@acme/widget/node_modules/left:26 via app>@acme/widget>left
left@2.0.0 dev at node_modules/left:31 via app>tool>left
tool@1.0.0 direct dev at node_modules/tool:37 via app>tool
`},
		{file: "tarball-of-other.v3.json", want: `
evil@1.0.0 alias=left odd direct at node_modules/left:14 via app>left
suspicious version-missing at tarball-of-other.v3.json:14: "node_modules/left" has no version; evil@1.0.0 is taken from where it was resolved
`},
		{file: "two-integrities.v3.json", want: `
a@1.0.0 direct at node_modules/a:15 via app>a
left@1.0.0 direct at node_modules/left:28 via app>left
left@1.0.0 at node_modules/a/node_modules/left:23 via app>a>left
`},
		{file: "unnamed.v3.json", want: `
unknown: ghost@ spec=1 direct optional at node_modules/ghost:14 via app>ghost
warning unnamed at unnamed.v3.json:14: "node_modules/ghost" has no version
`},
		{file: "url-by-accomplice.v3.json", want: `
a@1.0.0 direct at node_modules/a:15 via app>a
left@1.0.0 resolved=https://evil.example/x.tgz direct at node_modules/left:23 via app>left
`},
		{file: "url-changed.v3.json", want: `
url: left@1.0.0 spec=https://files.example/left-1.0.0.tgz resolved=https://evil.example/left-1.0.0.tgz odd direct at node_modules/left:14 via app>left
suspicious resolved-differs at url-changed.v3.json:14: "left" is asked for as "https://files.example/left-1.0.0.tgz" but resolved to "https://evil.example/left-1.0.0.tgz"
`},
		{file: "url-for-range.v1.json", want: `
a@1.0.0 direct at node_modules/a:7 via app>a
left@1.0.0 resolved=https://evil.example/left-1.0.0.tgz odd at node_modules/left:16 via app>a>left
url: right@ spec=https://evil.example/x.tgz resolved=https://evil.example/x.tgz odd at node_modules/right:20 via app>a>right
suspicious version-missing at url-for-range.v1.json:16: "node_modules/left" has no version; left@1.0.0 is taken from where it was resolved
suspicious source-unasked at url-for-range.v1.json:20: "right" is asked for by version ("1") but the lockfile takes it from "https://evil.example/x.tgz"
`},
		{file: "url.v3.json", want: `
url: left@1.0.0 spec=https://files.example/left-1.0.0.tgz resolved=https://files.example/left-1.0.0.tgz direct at node_modules/left:14 via app>left
`},
		{file: "version-in-tarball.v3.json", want: `
left@1.0.0 odd direct at node_modules/left:14 via app>left
suspicious version-missing at version-in-tarball.v3.json:14: "node_modules/left" has no version; left@1.0.0 is taken from where it was resolved
`},
		{file: "workspaces.v3.json", want: `
left@1.0.0 direct at node_modules/left:26 via app>left
left@2.0.0 extraneous at packages/a/node_modules/left:53
right@1.0.0 direct at node_modules/right:31 via @acme/a>right
test@1.0.0 direct dev at node_modules/test:36 via @acme/a>test
workspace: @acme/a@0.1.0 at node_modules/@acme/a:18 packages/a:42 via @acme/a
workspace: b@0.1.0 direct at node_modules/b:22 packages/b:58 via b
file: old@9.0.0 extraneous at packages/old:67
`},
		{file: "array.json", wantErr: `array.json: not a lockfile or SBOM that Assay knows`},
		{file: "conflict.v3.json", wantErr: `conflict.v3.json:3: has unresolved merge conflicts`},
		{file: "dependencies-only.v3.json", wantErr: `dependencies-only.v3.json:4: lockfileVersion 3 has packages, but this file only dependencies`},
		{file: "duplicate-entry.v3.json", wantErr: `duplicate-entry.v3.json:5: duplicate name "node_modules/left": readers disagree about which one counts`},
		{file: "duplicate-escaped.v3.json", wantErr: `duplicate-escaped.v3.json:5: duplicate name "node_modules/left": readers disagree about which one counts`},
		{file: "duplicate-field.v3.json", wantErr: `duplicate-field.v3.json:7: duplicate name "resolved": readers disagree about which one counts`},
		{file: "duplicate-packages.v3.json", wantErr: `duplicate-packages.v3.json:4: duplicate name "packages": readers disagree about which one counts`},
		{file: "empty.json", wantErr: `empty.json: not a lockfile or SBOM that Assay knows`},
		{file: "entry-string.v3.json", wantErr: `entry-string.v3.json:4: entry "node_modules/left" must be an object, not a string`},
		{file: "flag-string.v3.json", wantErr: `flag-string.v3.json:4: link must be true or false, not a string`},
		{file: "location-absolute.v3.json", wantErr: `location-absolute.v3.json:4: location "/etc/node_modules/left" is absolute`},
		{file: "location-backslash.v3.json", wantErr: `location-backslash.v3.json:4: location "node_modules\\left" has a control character or a backslash`},
		{file: "location-bare.v3.json", wantErr: `location-bare.v3.json:4: location "node_modules" names no package`},
		{file: "location-bidi.v3.json", wantErr: `location-bidi.v3.json:4: location "node_modules/left\u202egpj" has a character that changes the direction of text`},
		{file: "location-dot.v3.json", wantErr: `location-dot.v3.json:4: location "./node_modules/left" is not in its plain form`},
		{file: "location-dotdot.v3.json", wantErr: `location-dotdot.v3.json:4: location "node_modules/../../x" is not in its plain form`},
		{file: "location-dotfile.v3.json", wantErr: `location-dotfile.v3.json:4: package name ".bin": starts with "."`},
		{file: "location-double-slash.v3.json", wantErr: `location-double-slash.v3.json:4: location "node_modules//left" is not in its plain form`},
		{file: "location-drive.v3.json", wantErr: `location-drive.v3.json:4: location "C:/node_modules/left" is absolute`},
		{file: "location-escape.v3.json", wantErr: `location-escape.v3.json:4: location "node_modules/\x1b[2Jleft" has a control character or a backslash`},
		{file: "location-long.v3.json", wantErr: `is longer than 214 characters`},
		{file: "location-proto.v3.json", wantErr: `location-proto.v3.json:4: package name "__proto__": starts with "_"`},
		{file: "location-trailing.v3.json", wantErr: `location-trailing.v3.json:4: location "node_modules/left/" is not in its plain form`},
		{file: "location-upper-module.v3.json", wantErr: `location-upper-module.v3.json:4: location "node_modules/node_modules/left" has node_modules in node_modules`},
		{file: "name-hostile.v3.json", wantErr: `name-hostile.v3.json:4: "node_modules/left": package name "../evil": has a slash but no @scope before it`},
		{file: "no-version.json", wantErr: `no-version.json:1: has no lockfileVersion; supported are 1, 2 and 3`},
		{file: "not-json.txt", wantErr: `not-json.txt:1: not valid JSON: invalid character 'h' at start of value`},
		{file: "not-utf8.v3.json", wantErr: `not-utf8.v3.json:4: not valid JSON: invalid UTF-8`},
		{file: "packages-in.v1.json", wantErr: `packages-in.v1.json:4: lockfileVersion 1 has no packages, but this file does`},
		{file: "spec-number.v3.json", wantErr: `spec-number.v3.json:4: dependencies of "right" must be a string, not a number`},
		{file: "trailing-garbage.v3.json", wantErr: `trailing-garbage.v3.json:7: something follows the end of the document`},
		{file: "truncated.v3.json", wantErr: `truncated.v3.json:4: ends too early`},
		{file: "unknown-version.v9.json", wantErr: `unknown-version.v9.json:4: lockfileVersion 9 is not supported; supported are 1, 2 and 3`},
		{file: "version-0.v0.json", wantErr: `version-0.v0.json:4: lockfileVersion 0 is not supported; supported are 1, 2 and 3`},
		{file: "version-absent.v3.json", wantErr: `version-absent.v3.json:4: "node_modules/left": has no version`},
		{file: "version-absurd.v3.json", wantErr: `version-absurd.v3.json:4: "node_modules/left": version "1.0.0\x1b[31m": is not MAJOR.MINOR.PATCH`},
		{file: "version-long.v3.json", wantErr: `is longer than 256 characters`},
		{file: "version-name.v1.json", wantErr: `version-name.v1.json:4: location "node_modules/../x" is not in its plain form`},
		{file: "version-number.v3.json", wantErr: `version-number.v3.json:5: version must be a string, not a number`},
		{file: "version-range.v3.json", wantErr: `version-range.v3.json:4: "node_modules/left": version "^1.0.0": is not MAJOR.MINOR.PATCH`},
		{file: "version-string.json", wantErr: `version-string.json:3: lockfileVersion must be a number, not a string`},
		{file: "version-tag.v1.json", wantErr: `version-tag.v1.json:4: "node_modules/left": version "latest": is not MAJOR.MINOR.PATCH`},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			p, err := Open(filepath.Join("testdata", "package-lock", tt.file), Options{})
			checkError(t, err, tt.wantErr)
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, "\n"+summary(p)); diff != "" {
				t.Errorf("Open(%s) (-want +got):\n%s", tt.file, diff)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "package-lock", "*"))
	if err != nil || len(files) != len(tests) {
		t.Errorf("%d fixtures, %d cases (%v)", len(files), len(tests), err)
	}
}

// checkError fails the test unless err holds the text want, or is nil where want is empty.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("unexpected error: %v", err)
	case want != "" && err == nil:
		t.Fatalf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("error %q, want %q", err, want)
	}
}
