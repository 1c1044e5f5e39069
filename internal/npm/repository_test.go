package npm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"assay/internal/npm"
	"pgregory.net/rapid"
)

// repositoryTests lists spellings of package.json's repository and the repository they name, as
// host/path; "" means that the text is refused.
var repositoryTests = []struct{ field, want string }{
	// Shortcuts.
	{"o/r", "github.com/o/r"},
	{"o/r.git", "github.com/o/r"},
	{"o/r#main", "github.com/o/r"},
	{"o/r#semver:^1.0.0", "github.com/o/r"},
	{"o/r#feature/@x", "github.com/o/r"},
	{"github:o/r", "github.com/o/r"},
	{"github:o/r.git#v1", "github.com/o/r"},
	{"GitHub:o/r", "github.com/o/r"},
	{"gitlab:g/p", "gitlab.com/g/p"},
	{"gitlab:g/s/p", "gitlab.com/g/s/p"},
	{"bitbucket:o/r", "bitbucket.org/o/r"},
	{"gist:11081aaa281", "gist.github.com/11081aaa281"},
	{"gist:user/11081aaa281", "gist.github.com/11081aaa281"},
	{"sourcehut:~u/r", "git.sr.ht/~u/r"},

	// URLs.
	{"https://github.com/o/r", "github.com/o/r"},
	{"https://github.com/o/r.git", "github.com/o/r"},
	{"https://github.com/o/r/", "github.com/o/r"},
	{"https://github.com/o/r//", "github.com/o/r"},
	{"https://www.github.com/o/r", "github.com/o/r"},
	{"http://github.com/o/r", "github.com/o/r"},
	{"http://github.com:80/o/r", "github.com/o/r"},
	{"https://github.com:443/o/r", "github.com/o/r"},
	{"HTTPS://GitHub.COM/O/R.git", "github.com/O/R"},
	{"  https://github.com/o/r\n", "github.com/o/r"},
	{"git+https://github.com/o/r.git", "github.com/o/r"},
	{"git+http://github.com/o/r.git", "github.com/o/r"},
	{"git://github.com/o/r.git", "github.com/o/r"},
	{"git://github.com:9418/o/r.git", "github.com/o/r"},
	{"ssh://git@github.com/o/r.git", "github.com/o/r"},
	{"ssh://git@github.com:22/o/r.git", "github.com/o/r"},
	{"git+ssh://git@github.com/o/r.git", "github.com/o/r"},
	{"git+ssh://git@github.com:o/r.git", "github.com/o/r"},
	{"git://github.com:o/r.git", "github.com/o/r"},
	{"https://user:tok@github.com/o/r.git", "github.com/o/r"},
	{"https://me@example.com:tok@github.com/o/r", "github.com/o/r"},
	{"https://user%40x:t%2fk@github.com/o/r", "github.com/o/r"},
	{"https://github.com/o/r?tab=readme", "github.com/o/r"},
	{"https://github.com/o/r#readme", "github.com/o/r"},
	{"https://github.com/o/r.git#semver:^1", "github.com/o/r"},
	{"https://github.com/o/r/tree/main/packages/x", "github.com/o/r"},
	{"https://github.com/o/r/tree/main/packages/%40scope/x", "github.com/o/r"},
	{"https://github.com/o/r.git/tree/main", "github.com/o/r"},
	{"https://github.com/o/r/blob/main/README.md", "github.com/o/r"},
	{"https://github.com/o/r.js", "github.com/o/r.js"},
	{"https://github.com/o/.github", "github.com/o/.github"},
	{"https://github.com/o/a..b", "github.com/o/a..b"},
	{"https://gitlab.com/g/p.git", "gitlab.com/g/p"},
	{"git+https://gitlab.com/g/s/p.git", "gitlab.com/g/s/p"},
	{"https://gitlab.com/g/p/-/tree/main", "gitlab.com/g/p"},
	{"https://gitlab.com/g/s/p/-/blob/main/x/y", "gitlab.com/g/s/p"},
	{"https://gitlab.com/g/p/tree/main/x", "gitlab.com/g/p"},
	{"https://bitbucket.org/o/r/src/main/x", "bitbucket.org/o/r"},
	{"https://gist.github.com/11081aaa281", "gist.github.com/11081aaa281"},
	{"https://gist.github.com/11081aaa281.git", "gist.github.com/11081aaa281"},
	{"https://gist.github.com/user/11081aaa281", "gist.github.com/11081aaa281"},
	{"https://git.sr.ht/~u/r", "git.sr.ht/~u/r"},

	// The form of scp, and what is near it.
	{"git@github.com:o/r.git", "github.com/o/r"},
	{"git@github.com:o/r", "github.com/o/r"},
	{"git@github.com:/o/r", ""},
	{"git@github.com/o/r", "github.com/o/r"},
	{"user:password@github.com:o/r.git", "github.com/o/r"},
	{"git@github.com:o/r.git#semver:^1.0.0", "github.com/o/r"},
	{"git@gitlab.com:g/s/p.git", "gitlab.com/g/s/p"},
	{"git@git.example.com:team/p.git", "git.example.com/team/p"},
	{"github.com/o/r", "github.com/o/r"},
	{"www.github.com/o/r.git", "github.com/o/r"},

	// Other hosts are plain URLs.
	{"https://git.example.com/team/p.git", "git.example.com/team/p"},
	{"https://GIT.example.com:8443/Team/p/", "git.example.com:8443/Team/p"},
	{"ssh://git@git.example.com:2222/team/p.git", "git.example.com:2222/team/p"},
	{"https://git.example.com/a/b/c/d", "git.example.com/a/b/c/d"},
	{"https://git.example.com/p/-/tree/main", "git.example.com/p/-/tree/main"},
	{"https://www.example.com/p", "www.example.com/p"},
	{"ssh://git@ssh.github.com:443/o/r.git", "ssh.github.com/o/r"},
	{"https://dev.azure.com/org/project/_git/repo", "dev.azure.com/org/project/_git/repo"},
	{"http://[::1]:3000/o/r", "[::1]:3000/o/r"},
	{"https://127.0.0.1:3000/o/r", "127.0.0.1:3000/o/r"},

	// Lookalikes go where they really go.
	{"https://github.com.evil.example/o/r", "github.com.evil.example/o/r"},
	{"https://github.com@evil.example/o/r", "evil.example/o/r"},
	{"https://github.com:443@evil.example/o/r", "evil.example/o/r"},
	{"https://github.com%2fo%2fr@evil.example/o/r", "evil.example/o/r"},
	{"https://user@github.com:tok@evil.example/o/r", "evil.example/o/r"},
	{"https://evil.example/github.com/o/r", "evil.example/github.com/o/r"},
	{"https://evil-github.com/o/r", "evil-github.com/o/r"},
	{"https://xn--gthub-n4a.com/o/r", "xn--gthub-n4a.com/o/r"},
	{"https://www.www.github.com/o/r", "www.www.github.com/o/r"},
	{"https://api.github.com/repos/o/r", "api.github.com/repos/o/r"},
	{"https://github.com:8443/o/r", "github.com:8443/o/r"},
	{"https://github.com/o/r-evil", "github.com/o/r-evil"},
	{"https://github.com/o/r/../../evil/x", ""},
	{"https://github.com/o/r/tree/../../../evil/x", ""},
	{"https://github.com/evil/../o/r", ""},
	{"https://github.com/./o/r", ""},
	{"https://github.com/o/r/%2e%2e/%2E%2e/evil/x", ""},
	{"https://github.com/o/.%2e/evil/x", ""},
	{"https://github.com/o%2fr", ""},
	{"https://github.com/o/r%2f..%2fx", ""},
	{"https://github.com/o/r/tree/main%2f..", ""},
	{"https://github.com/%6f/r", ""},
	{"https://github.com/o/r%00", ""},
	{"https://github.com/o/r%", ""},
	{"https://github.com/o/r/tree/%", ""},
	{"https://github.com\\@evil.example/o/r", ""},
	{"https://evil.example\\@github.com/o/r", ""},
	{"https:\\\\github.com\\o\\r", ""},
	{"https://github.com/o\\r/x", ""},
	{"https://github.com/o/r\t", "github.com/o/r"},
	{"https://github.com/o\t/r", ""},
	{"https://git\nhub.com/o/r", ""},
	{"https://github.com/o /r", ""},
	{"https://github.com/o\u00a0/r", ""},
	{"https://g\u0456thub.com/o/r", ""},
	{"https://github\uff0ecom/o/r", ""},
	{"https://github.com\u2044o/r/x", ""},
	{"https://github.com/o/\u212a", ""},
	{"https://github%2ecom/o/r", ""},
	{"https://github.com./o/r", ""},
	{"https://.github.com/o/r", ""},
	{"https://github.com:99999/o/r", ""},
	{"https://github.com:0443/o/r", ""},
	{"https://github.com#@evil.example/o/r", ""},
	{"https://github.com?@evil.example/o/r", ""},
	{"git@github.com:o/r@evil.example:x/y", ""},
	{"git@github.com:o/r@v1", ""},
	{"git@github.com@evil.example:o/r", ""},
	{"github:o/r@evil.example", ""},
	{"github:evil.example@o/r", ""},
	{"github:o/r/../x", ""},
	{"github:../r", ""},
	{"github:o/..", ""},
	{"github:o%2fr", ""},

	// No repository.
	{"https://github.com", ""},
	{"https://github.com/", ""},
	{"https://github.com/o", ""},
	{"https://github.com//r", ""},
	{"https://github.com/o/.git", ""},
	{"https://github.com/o/..git", ""},
	{"https://github.com/o/r.git.git", ""},
	{"https://github.com//o/r", ""},
	{"https:///o/r", ""},
	{"https://", ""},
	{"https:/github.com/o/r", ""},
	{"https://git.example.com", ""},
	{"https://git.example.com//p", ""},
	{"https://git.example.com/...git", ""},
	{"https://git.example.com/p%20q", ""},
	{"https://gitlab.com/p", ""},
	{"https://gitlab.com/-/tree", "gitlab.com/-/tree"},
	{"gist:", ""},
	{"github:", ""},
	{"github:r", ""},
	{"github:/r", ""},
	{"github:a/b/c", ""},
	{"github:o/r/tree/main", ""},
	{"o/r/", ""},
	{"o/r/x", ""},
	{"./o", ""},
	{"../o", ""},
	{"/o", ""},
	{"@o/r", ""},
	{"r", ""},
	{"#o/r", ""},
	{"o:r", ""},
	{":", ""},
	{"@", ""},
	{"git@", ""},
	{"git@github.com", ""},
	{"github.com:o/r", ""}, // to git a host, to npm a scheme
	{"file:///o/r", ""},
	{"javascript:alert(1)", ""},
	{"svn+ssh://svn.example.com/r", ""},
	{"git+file:///o/r", ""},
	{"n/a", "github.com/n/a"}, // as npm has it
	{strings.Repeat("x", 5000) + "/r", ""},
}

func TestParseRepository(t *testing.T) {
	for _, tt := range repositoryTests {
		r, err := npm.ParseRepository(tt.field, "packages/x")
		if tt.want == "" {
			if err == nil {
				t.Errorf("ParseRepository(%q) = %s, want an error", tt.field, r)
			}
			if r != (npm.Repository{}) {
				t.Errorf("ParseRepository(%q) = %+v beside an error", tt.field, r)
			}
			continue
		}
		if err != nil {
			t.Errorf("ParseRepository(%q): %v", tt.field, err)
			continue
		}
		if got := r.Host + "/" + r.Path; got != tt.want {
			t.Errorf("ParseRepository(%q) = %q, want %q", tt.field, got, tt.want)
		}
		if want := "https://" + tt.want; r.String() != want {
			t.Errorf("ParseRepository(%q) prints %q, want %q", tt.field, r, want)
		}
		if r.Directory != "packages/x" {
			t.Errorf("ParseRepository(%q) loses the directory", tt.field)
		}
	}
}

// TestParseRepositoryLikeNPM compares with hosted-git-info: where that finds a repository of a known host,
// either the same one is found, or none at all because the text can be read in two ways.
func TestParseRepositoryLikeNPM(t *testing.T) {
	var fields []string
	for _, tt := range repositoryTests {
		fields = append(fields, tt.field)
	}
	for _, scheme := range []string{"", "https://", "http://", "git://", "git+https://", "git+ssh://", "ssh://", "github:", "gitlab:", "git@", "u:p@", "https://u:p@"} {
		for _, host := range []string{"", "github.com", "www.github.com", "gitlab.com", "bitbucket.org", "gist.github.com", "git.sr.ht", "evil.example"} {
			for _, separator := range []string{"/", ":"} {
				for _, path := range []string{"o/r", "o/r.git", "o/r/", "o/s/r", "r", "o/r#x@y:z", "o/r?q", "o/r/tree/main", "o@x/r", "o/r@x"} {
					fields = append(fields, scheme+host+separator+path)
				}
			}
		}
	}
	fields = append(fields, randomStrings(4000, "ogr/:@.#%2f~-\\ ", 9)...)
	for _, s := range randomStrings(4000, "or/:@.#%2~-", 7) {
		fields = append(fields, "https://github.com/"+s, "https://"+s+"github.com/o/r", "git@github.com:"+s, "github:"+s, "gitlab:g/"+s)
	}
	type hosted struct{ Domain, User, Project string }
	results := npmJS[*hosted](t, `s => {
		const h = require("hosted-git-info").fromUrl(s.trim());
		return h ? {Domain: h.domain, User: h.user || "", Project: h.project || ""} : null}`, fields)
	same := 0
	for i, field := range fields {
		h := results[i]
		if h == nil || h.Project == "" {
			continue
		}
		r, err := npm.ParseRepository(field, "")
		if err != nil {
			continue
		}
		want := npm.Repository{Host: h.Domain, Path: h.User + "/" + h.Project}
		if h.User == "" || h.Domain == "gist.github.com" {
			want.Path = h.Project
		}
		if r == want {
			same++
			continue
		}
		// Known differences: another port is another server, an @ in a shortcut, GitLab's old /tree/, letter case of a shortcut.
		switch {
		case strings.Contains(r.Host, ":"):
		case r.Host == "gitlab.com" && strings.Contains(want.Path, "/tree/") && strings.HasPrefix(want.Path, r.Path):
		case strings.HasPrefix(field, "GitHub:"):
		default:
			t.Errorf("ParseRepository(%q) = %+v, hosted-git-info says %+v", field, r, want)
		}
	}
	if same < 300 {
		t.Errorf("only %d of %d agree with hosted-git-info", same, len(fields))
	}
}

// TestEveryRecognisedSpelling checks that no plain spelling that npm understands is refused.
func TestEveryRecognisedSpelling(t *testing.T) {
	for _, scheme := range []string{"https://", "http://", "git://", "git+https://", "git+ssh://git@", "ssh://git@", "git@", "https://u:p@"} {
		for host, path := range map[string]string{"github.com": "o/r", "www.github.com": "o/r", "gitlab.com": "g/s/p", "bitbucket.org": "o/r", "git.sr.ht": "~u/r"} {
			separator := "/"
			if scheme == "git@" {
				separator = ":"
			}
			for _, end := range []string{"", ".git", "#main", ".git#semver:^1"} {
				field := scheme + host + separator + path + end
				r, err := npm.ParseRepository(field, "")
				want := npm.Repository{Host: strings.TrimPrefix(host, "www."), Path: path}
				if err != nil || r != want {
					t.Errorf("ParseRepository(%q) = %+v, %v, want %+v", field, r, err, want)
				}
			}
		}
	}
}

func TestRepositoryFromManifest(t *testing.T) {
	tests := []struct{ raw, want, directory, wantErr string }{
		{raw: `"github:o/r"`, want: "https://github.com/o/r"},
		{raw: ` {"type":"git","url":"git+https://github.com/o/r.git","directory":"packages/x"} `, want: "https://github.com/o/r", directory: "packages/x"},
		{raw: `{"url":"o/r"}`, want: "https://github.com/o/r"},
		{raw: `{"url":"evil/x","url":"o/r"}`, want: "https://github.com/o/r"}, // the last, as in JavaScript
		{raw: `{"url":"o/r","URL":"evil/x","Url":"evil/x"}`, want: "https://github.com/o/r"},
		{raw: `{"url":"o/r","directory":7}`, want: "https://github.com/o/r"},
		{raw: `{"url":"o\u002fr"}`, want: "https://github.com/o/r"},

		{raw: ``}, {raw: `null`}, {raw: `""`}, {raw: `" "`}, {raw: `{}`}, {raw: `{"type":"git"}`}, {raw: `{"url":""}`}, {raw: `{"url":null}`}, {raw: `{"URL":"o/r"}`},

		{raw: `[]`, wantErr: "neither a string nor an object"},
		{raw: `["o/r"]`, wantErr: "neither a string nor an object"},
		{raw: `7`, wantErr: "neither a string nor an object"},
		{raw: `true`, wantErr: "neither a string nor an object"},
		{raw: `garbage`, wantErr: "neither a string nor an object"},
		{raw: `{"url":7}`, wantErr: "url is not a string"},
		{raw: `{"url":{"url":"o/r"}}`, wantErr: "url is not a string"},
		{raw: `{"url":"o/r"`, wantErr: "repository:"},
		{raw: `"o/r" x`, wantErr: "repository:"},
		{raw: `"o/r`, wantErr: "repository:"},
		{raw: "\"o/r\xff\"", wantErr: "repository"},
		{raw: `{"url":` + strings.Repeat("[", 30_000), wantErr: "repository:"},
		{raw: `"` + strings.Repeat("x", 100_000) + `"`, wantErr: "longer than"},
		{raw: `"https://github.com/o/../x"`, wantErr: `"." or ".."`},
	}
	for _, tt := range tests {
		r, ok, err := npm.RepositoryFromManifest([]byte(tt.raw))
		t.Run(tt.raw[:min(len(tt.raw), 60)], func(t *testing.T) {
			checkError(t, err, tt.wantErr)
			if r.String() != tt.want || ok != (tt.want != "") || r.Directory != tt.directory {
				t.Errorf("got %+v, %t, want %q in %q", r, ok, tt.want, tt.directory)
			}
		})
	}
}

func TestParseRepositoryURI(t *testing.T) {
	tests := []struct{ uri, want string }{ // "" means refused
		{"https://github.com/sigstore/sigstore-js", "https://github.com/sigstore/sigstore-js"},
		{"git+https://github.com/o/r@refs/tags/v1", "https://github.com/o/r"},
		{"git+https://github.com/o/r@refs/heads/feature/@x/../y", "https://github.com/o/r"},
		{"git+https://github.com/o/r.git@refs/tags/v1", "https://github.com/o/r"},
		{"https://gitlab.com/g/s/p", "https://gitlab.com/g/s/p"},
		{"git+https://gitlab.com/g/p", "https://gitlab.com/g/p"},
		{"https://git.example.com:8443/g/p", "https://git.example.com:8443/g/p"},
		{"https://github.com/O/R", "https://github.com/O/R"},

		{"", ""},
		{"github.com/o/r", ""},
		{"o/r", ""},
		{"http://github.com/o/r", ""},
		{"git+ssh://git@github.com/o/r", ""},
		{"https://github.com", ""},
		{"https://github.com/", ""},
		{"https://github.com/o", ""},
		{"https://github.com/o/", ""},
		{"https://github.com/o/r/", ""},
		{"https://github.com/o/r/x", ""},
		{"https://github.com//o/r", ""},
		{"https://github.com/o//r", ""},
		{"https://github.com/o/r/.github/workflows/release.yml@refs/heads/main", ""},
		{"https://gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main", ""},
		{"https://gitlab.com/g/p/-/tree/main", ""},
		{"https://www.github.com/o/r", ""},
		{"https://github.com@evil.example/o/r", ""},
		{"https://user:pass@github.com/o/r", ""},
		{"https://github.com/o@evil/r", ""},
		{"https://github.com/o/r?x", ""},
		{"https://github.com/o/r#x", ""},
		{"https://github.com?/o/r", ""},
		{"https://github.com#/o/r", ""},
		{"https://github.com\\o/r", ""},
		{"https://github.com/o/r%2fx", ""},
		{"https://github.com/o/..", ""},
		{"https://github.com/o/r ", ""},
		{" https://github.com/o/r", ""},
		{"git+git+https://github.com/o/r", ""},
		{"https://github.com.evil.example/o/r", "https://github.com.evil.example/o/r"},
	}
	for _, tt := range tests {
		r, err := npm.ParseRepositoryURI(tt.uri)
		if r.String() != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseRepositoryURI(%q) = %q, %v, want %q", tt.uri, r, err, tt.want)
		}
	}
}

func TestCutRef(t *testing.T) {
	tests := []struct {
		uri, base, ref string
		ok             bool
	}{
		{"git+https://github.com/o/r@refs/tags/v1", "git+https://github.com/o/r", "refs/tags/v1", true},
		{"git+https://github.com/o/r@refs/heads/@x/y", "git+https://github.com/o/r", "refs/heads/@x/y", true},
		{"git+ssh://git@github.com/o/r@v1", "git+ssh://git@github.com/o/r", "v1", true},
		{"git+https://github.com/o/r@", "git+https://github.com/o/r", "", true},
		{"git+ssh://git@github.com/o/r", "git+ssh://git@github.com/o/r", "", false},
		{"https://git@github.com", "https://git@github.com", "", false},
		{"https://github.com/o/r", "https://github.com/o/r", "", false},
		{"", "", "", false},
	}
	for _, tt := range tests {
		base, ref, ok := npm.CutRef(tt.uri)
		if base != tt.base || ref != tt.ref || ok != tt.ok {
			t.Errorf("CutRef(%q) = %q, %q, %t", tt.uri, base, ref, ok)
		}
	}
}

func TestRepositoryMatch(t *testing.T) {
	tests := []struct {
		a, b            string
		equal, caseOnly bool
	}{
		{"https://github.com/o/r", "git@github.com:o/r.git", true, false},
		{"https://github.com/o/r", "git+ssh://git@GITHUB.com/o/r.git#main", true, false},
		{"https://github.com/Owner/Repo", "github:owner/repo", false, true},
		{"https://gitlab.com/G/s/P", "gitlab:g/s/p", false, true},
		{"https://bitbucket.org/O/r", "bitbucket:o/r", false, true},
		{"https://github.com/o/r", "https://github.com/o/r-evil", false, false},
		{"https://github.com/o/r", "https://github.com/o-evil/r", false, false},
		{"https://github.com/o/r", "https://gitlab.com/o/r", false, false},
		{"https://github.com/o/r", "https://github.com.evil.example/o/r", false, false},
		{"https://github.com/o/r", "https://github.com:8443/o/r", false, false},
		{"https://gitlab.com/g/p", "https://gitlab.com/g/s/p", false, false},
		{"https://git.example.com/o/r", "ssh://git@git.example.com/o/r.git", true, false},
		{"https://git.example.com/O/r", "https://git.example.com/o/r", false, false},
		{"https://github.com/o/r.js", "https://github.com/o/r-js", false, false},
	}
	for _, tt := range tests {
		a, errA := npm.ParseRepository(tt.a, "one")
		b, errB := npm.ParseRepository(tt.b, "another")
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		for _, pair := range [][2]npm.Repository{{a, b}, {b, a}} {
			if equal, caseOnly := pair[0].Match(pair[1]); equal != tt.equal || caseOnly != tt.caseOnly {
				t.Errorf("Match(%s, %s) = %t, %t, want %t, %t", pair[0], pair[1], equal, caseOnly, tt.equal, tt.caseOnly)
			}
		}
	}
	var none npm.Repository
	if equal, caseOnly := none.Match(none); equal || caseOnly {
		t.Error("nothing matches nothing")
	}
	if none.String() != "" {
		t.Errorf("the zero Repository prints %q", none)
	}
	kelvin := npm.Repository{Host: "github.com", Path: "o/\u212a"}
	if equal, caseOnly := kelvin.Match(npm.Repository{Host: "github.com", Path: "o/k"}); equal || caseOnly {
		t.Error("the Kelvin sign is a k")
	}
}

// TestRepositoryInjection: whatever stands around it, text without the trusted repository's own host or
// shortcut never becomes that repository.
func TestRepositoryInjection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(https?|git|ssh)://[a-z@:.%/\\#?]{0,12}evil\.example[a-z@:.%/\\#?]{0,3}/[-a-z@:.%/\\#?]{0,12}trusted/repo`).Draw(t, "text")
		r, err := npm.ParseRepository(text, "")
		if err == nil && r.Host == "github.com" {
			t.Fatalf("%q became %s", text, r)
		}
	})
}

func FuzzParseRepository(f *testing.F) {
	for _, tt := range repositoryTests {
		f.Add(tt.field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		r, err := npm.ParseRepository(field, "")
		if err == nil {
			checkRepository(t, field, r)
		}
		if r, err := npm.ParseRepositoryURI(field); err == nil {
			checkRepository(t, field, r)
			if !strings.HasPrefix(strings.TrimPrefix(strings.ToLower(field), "git+"), strings.ToLower("https://"+r.Host+"/")) &&
				!strings.Contains(field, ":443/") && !strings.Contains(field, ":/") {
				t.Errorf("ParseRepositoryURI(%q) = %s", field, r)
			}
		}
		_, _, _ = npm.RepositoryFromManifest([]byte(field))
		quoted, _ := json.Marshal(field)
		if fromJSON, ok, err := npm.RepositoryFromManifest(quoted); ok && err == nil && strings.ToValidUTF8(field, "\ufffd") == field && fromJSON != r {
			t.Errorf("from a manifest %q is %s, alone %s", field, fromJSON, r)
		}
		npm.CutRef(field)
	})
}

// checkRepository checks what every parsed repository has to be: one spelling, that parses to itself.
func checkRepository(t *testing.T, field string, r npm.Repository) {
	t.Helper()
	for _, segment := range strings.Split(r.Host+"/"+r.Path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			t.Errorf("%q gives %s", field, r)
		}
	}
	if strings.ContainsAny(r.Host+r.Path, "\\%?# \t\r\n\x00") || strings.ContainsAny(r.Host, "@/") || strings.HasSuffix(r.Path, ".git") {
		t.Errorf("%q gives %s", field, r)
	}
	if r.Host == "github.com" && !strings.Contains(strings.ToLower(field), "github") && strings.Contains(field, ":") && !strings.Contains(field, "#") && !strings.Contains(field, "?") {
		t.Errorf("%q gives %s", field, r)
	}
	again, err := npm.ParseRepository(r.String(), "")
	if err != nil || again != r {
		t.Errorf("%q gives %s, and that %s, %v", field, r, again, err)
	}
	if equal, _ := r.Match(again); !equal {
		t.Errorf("%s does not match itself", r)
	}
}
