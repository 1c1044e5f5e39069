package publish

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"assay/internal/npm"
)

func token(claims string) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
}

func TestToken(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	tests := []struct{ raw, wantErr, challenge string }{
		{token(`{"aud":"sigstore","sub":"repo:o/r","repository":"o/r","email":"a@b","exp":1800000001}`), "", "repo:o/r"},
		{token(`{"aud":["x","sigstore"],"sub":"1","email":"a@example.com"}`), "", "a@example.com"},
		{token(`{"aud":"sigstore","sub":"s","exp":1800000000}`), "expired at 2027-01-15T08:00:00Z", ""},
		{token(`{"aud":"npm:registry.npmjs.org","sub":"s"}`), "is for audience", ""},
		{token(`{"sub":"s"}`), "is for audience", ""},
		{token(`{"aud":"sigstore"}`), "no subject", ""},
		{token(`[]`), "not a JSON object", ""},
		{token(`null`), "not a JSON object", ""},
		{"a.b", "not a JWT", ""},
		{"a.!.c", "base64url", ""},
		{strings.Repeat("x", maxToken) + ".e30.x", "not a JWT", ""},
	}
	for _, tt := range tests {
		tok, err := parseToken(NewSecret(tt.raw))
		if err == nil {
			err = tok.check("X", AudienceSigstore, now)
		}
		checkError(t, tt.raw[:min(40, len(tt.raw))], err, tt.wantErr)
		if err == nil && tok.challenge() != tt.challenge {
			t.Errorf("challenge %q, want %q", tok.challenge(), tt.challenge)
		}
	}
}

func TestSecrets(t *testing.T) {
	s := NewSecret("theSecretItself")
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%+v %#v", struct{ S Secret }{s}, &struct{ S Secret }{s})} {
		if strings.Contains(text, "theSecret") || strings.Contains(text, fmt.Sprintf("%x", "theSecret")) {
			t.Errorf("printed: %s", text)
		}
	}
	if b, err := json.Marshal(s); err != nil || strings.Contains(string(b), "theSecret") {
		t.Errorf("%s %v", b, err)
	}
	var v vault
	v.add(NewSecret("aaaaaaaaaaaa.bbbbbbbbbbbb.cccccccccccc"))
	v.add(s)
	for _, text := range []string{"x theSecretItself y", "payload bbbbbbbbbbbb", "Bearer abcdefghijkl", "basic abcdefghijkl==", "npm_abcdefghijklmnopqrstuvwxyz", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.abc"} {
		got := v.hide(text)
		if !strings.Contains(got, "[hidden]") || strings.Contains(got, "abcdefgh") || strings.Contains(got, "bbbb") || strings.Contains(got, "eyJ") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	if got := v.hide("nothing to hide at https://x/y"); got != "nothing to hide at https://x/y" {
		t.Errorf("%q", got)
	}
}

func TestCleanVersion(t *testing.T) {
	tests := []struct{ in, want, wantErr string }{
		{"1.2.3", "1.2.3", ""}, {" v1.2.3+b.7 ", "1.2.3", ""}, {"=1.2.3-rc.1+x", "1.2.3-rc.1", ""}, {"1.2", "", "version"}, {"", "", "version"}, {"1.2.3.4", "", "version"},
	}
	for _, tt := range tests {
		got, err := CleanVersion(tt.in)
		if (err != nil) != (tt.wantErr != "") || got != tt.want {
			t.Errorf("%q: %q, %v", tt.in, got, err)
		}
	}
}

func TestManifest(t *testing.T) {
	tests := []struct {
		name, text, wantErr string
		private             bool
	}{
		{"plain", `{"name":"left","version":"1.0.0"}`, "", false},
		{"byte order mark", "\ufeff" + `{"name":"left","version":"1.0.0"}`, "", false},
		{"private", `{"name":"left","version":"1.0.0","private":true}`, "", true},
		{"private as text", `{"name":"left","version":"1.0.0","private":"yes"}`, "", true},
		{"odd members", `{"name":"left","version":"1.0.0","publishConfig":[],"tag":1,"scripts":{"x":1},"private":false}`, "", false},
		{"no name", `{"version":"1.0.0"}`, "name", false},
		{"path in name", `{"name":"../x","version":"1.0.0"}`, "name", false},
		{"upper case", `{"name":"Left","version":"1.0.0"}`, "upper case", false},
		{"no version", `{"name":"left"}`, "version", false},
		{"no object", `[]`, "package.json", false},
	}
	for _, tt := range tests {
		m, err := ReadManifest([]byte(tt.text))
		checkError(t, tt.name, err, tt.wantErr)
		if err == nil && m.Private != tt.private {
			t.Errorf("%s: private %v", tt.name, m.Private)
		}
	}
}

func TestDistTag(t *testing.T) {
	m := &Manifest{Name: "left", Version: "1.0.0"}
	for _, tag := range []string{"latest", "next", "beta-1", "release-1.x", "v-next"} {
		if err := m.CheckDistTag(tag, true); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
	for _, tag := range []string{"v1", "1.x", "x", "X", "v1.2", "", "a b", "../x", "*"} {
		if err := m.CheckDistTag(tag, true); err == nil {
			t.Errorf("%q is taken", tag)
		}
	}
}

const signingConfig = `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json",
"caUrls":[{"url":"https://old","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z","end":"2021-01-01T00:00:00Z"},"operator":"a"},
 {"url":"https://ca","majorApiVersion":1,"validFor":{"start":"2022-01-01T00:00:00Z"},"operator":"a"},
 {"url":"https://future","majorApiVersion":1,"validFor":{"start":"2030-01-01T00:00:00Z"},"operator":"a"}],
"rekorTlogUrls":[{"url":"https://log2","majorApiVersion":2,"validFor":{"start":"2025-01-01T00:00:00Z"},"operator":"a"},
 {"url":"https://log1","majorApiVersion":1,"validFor":{"start":"2021-01-01T00:00:00Z"},"operator":"a"},
 {"url":"https://log1b","majorApiVersion":1,"validFor":{"start":"2023-01-01T00:00:00Z"},"operator":"b"}],
"tsaUrls":[{"url":"https://tsa/api/v1/timestamp","majorApiVersion":1,"validFor":{"start":"2021-01-01T00:00:00Z"},"operator":"a"}],
"rekorTlogConfig":{"selector":"ANY"},"tsaConfig":{"selector":"EXACT","count":1}}`

func TestSigningConfig(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name, old, new string
		version        int
		want, wantErr  string
	}{
		{"version 1 where there is one", "", "", 0, "{https://ca [https://log1b] 1 [https://tsa/api/v1/timestamp]}", ""},
		{"version 2 asked for", "", "", 2, "{https://ca [https://log2] 2 [https://tsa/api/v1/timestamp]}", ""},
		{"all operators", `"rekorTlogConfig":{"selector":"ANY"}`, `"rekorTlogConfig":{"selector":"ALL"}`, 1, "{https://ca [https://log1b https://log1] 1 [https://tsa/api/v1/timestamp]}", ""},
		{"more than there are", `"rekorTlogConfig":{"selector":"ANY"}`, `"rekorTlogConfig":{"selector":"EXACT","count":3}`, 1, "", "3 are needed, and 2"},
		{"unknown selector", `"selector":"ANY"`, `"selector":"BEST"`, 1, "", `"BEST" is not known`},
		{"older media type", "v0.2+json", "v0.1+json", 0, "", "media type"},
		{"no authority now", "2022-01-01", "2029-01-01", 0, "", "certificate authorities"},
		{"http", "https://ca", "http://ca", 0, "", "https only"},
		{"no JSON", "{", "", 0, "", "signing configuration"},
	}
	for _, tt := range tests {
		s, err := ParseSigningConfig([]byte(strings.Replace(signingConfig, tt.old, tt.new, 1)), tt.version, now)
		checkError(t, tt.name, err, tt.wantErr)
		if err == nil && fmt.Sprint(s) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, s, tt.want)
		}
	}
	for address, want := range map[string]string{"https://tsa.example": "https://tsa.example/api/v1/timestamp", "https://tsa.example/": "https://tsa.example/api/v1/timestamp", "https://tsa.example/x": "https://tsa.example/x"} {
		if got := PublicGood().WithTSA(address).TSA[0]; got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestRegistryFor(t *testing.T) {
	config, _, err := npm.ParseConfig([]npm.Source{{Level: npm.LevelUser, Data: []byte("registry=https://user.example/\n@scoped:registry=https://scoped.example/npm/\n")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ manifest, flag, want string }{
		{`{"name":"left","version":"1.0.0"}`, "", "https://user.example"},
		{`{"name":"left","version":"1.0.0","publishConfig":{"registry":"https://own.example/"}}`, "", "https://own.example"},
		{`{"name":"left","version":"1.0.0","publishConfig":{"registry":"https://own.example/"}}`, "https://user.example", "https://user.example"},
		{`{"name":"@scoped/left","version":"1.0.0"}`, "", "https://scoped.example/npm"},
		{`{"name":"@scoped/left","version":"1.0.0","publishConfig":{"registry":"https://own.example/"}}`, "", "https://scoped.example/npm"},
		{`{"name":"@scoped/left","version":"1.0.0","publishConfig":{"@scoped:registry":"https://own.example/"}}`, "", "https://own.example"},
		{`{"name":"left","version":"1.0.0","publishConfig":{"registry":"file:///etc"}}`, "", ""},
		{`{"name":"left","version":"1.0.0","publishConfig":{"registry":"http://own.example/"}}`, "", ""},
		{`{"name":"left","version":"1.0.0","publishConfig":{"registry":"http://localhost.example/"}}`, "", ""},
		{`{"name":"left","version":"1.0.0","publishConfig":{"registry":"http://127.0.0.1:4873/"}}`, "", "http://127.0.0.1:4873"},
	}
	for _, tt := range tests {
		m, err := ReadManifest([]byte(tt.manifest))
		if err != nil {
			t.Fatal(err)
		}
		got, err := RegistryFor(m, config, tt.flag)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s %s: %q, %v", tt.manifest, tt.flag, got, err)
		}
	}
}

const entryV1 = `{"24296fb24b8ad77a":{"body":"eyJhcGlWZXJzaW9uIjoiMC4wLjEiLCJraW5kIjoiZHNzZSJ9","integratedTime":1717453079,"logID":"c0d2","logIndex":9,
"verification":{"inclusionProof":{"checkpoint":"c","hashes":["aa"],"logIndex":5,"rootHash":"bb","treeSize":6},"signedEntryTimestamp":"c2V0"}}}`

func TestReadEntryV1(t *testing.T) {
	e, err := readEntryV1([]byte(entryV1))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"logIndex":"9","logId":{"keyId":"wNI="},"kindVersion":{"kind":"dsse","version":"0.0.1"},"integratedTime":"1717453079","inclusionPromise":{"signedEntryTimestamp":"c2V0"},` +
		`"inclusionProof":{"logIndex":"5","rootHash":"uw==","treeSize":"6","hashes":["qg=="],"checkpoint":{"envelope":"c"}},"canonicalizedBody":"eyJhcGlWZXJzaW9uIjoiMC4wLjEiLCJraW5kIjoiZHNzZSJ9"}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	for old, wantErr := range map[string]string{`"c0d2"`: "logID", `"aa"`: "hash", `"bb"`: "rootHash", `"c2V0"`: "JSON", "eyJh": "kind", `{"24`: "JSON"} {
		_, err := readEntryV1([]byte(strings.Replace(entryV1, old, `"?`+old[1:], 1)))
		if err == nil {
			t.Errorf("%s damaged: no error (want %s)", old, wantErr)
		}
	}
	for _, text := range []string{"{}", `{"a":{},"b":{}}`, "null", "[]", `{"a":null}`} {
		if _, err := readEntryV1([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func TestObject(t *testing.T) {
	text := `{"b":1,"a":{"x":[1, 2]},"c":"<\u2028>"}`
	o, err := parseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(o.json()); got != text {
		t.Errorf("%s", got)
	}
	o.set("b", nil)
	o.set("d", "x")
	if got := string(o.json()); got != `{"a":{"x":[1, 2]},"c":"<\u2028>","d":"x"}` {
		t.Errorf("%s", got)
	}
	for _, bad := range []string{"", "[]", "null", `{"a":1,"a":2}`, `{"a":1`, `{"a"}`} {
		if _, err := parseObject([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// FuzzParsers feeds what comes from elsewhere to whatever reads it: an error at most, and every error of a kind that
// has an exit code.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{entryV1, signingConfig, token(`{"aud":"sigstore","sub":"x","exp":1}`), `{"name":"@a/b","version":"1.0.0","repository":{"url":"github:a/b"}}`, "", "{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		readEntryV1(data)
		if o, err := parseObject(data); err == nil && !json.Valid(o.json()) {
			t.Errorf("%q becomes %q", data, o.json())
		}
		var e entry
		json.Unmarshal(data, &e)
		if _, err := ParseSigningConfig(data, 0, time.Unix(1_800_000_000, 0)); err != nil && ReasonOf(err) == "" {
			t.Errorf("%v has no reason", err)
		}
		if tok, err := parseToken(NewSecret(string(data))); err == nil {
			tok.check("X", "y", time.Unix(0, 0))
			tok.challenge()
		}
		if m, err := ReadManifest(data); err == nil {
			m.CheckPublishable()
			m.CheckDistTag(m.Tag, true)
		} else if ReasonOf(err) == "" {
			t.Errorf("%v has no reason", err)
		}
		var quoted string
		if err := json.Unmarshal(appendString(nil, string(data)), &quoted); err != nil {
			t.Errorf("%q: %v", data, err)
		}
		if line := oneLine(string(data), 100); strings.ContainsAny(line, "\n\r\x1b") {
			t.Errorf("%q", line)
		}
	})
}

func TestErrorText(t *testing.T) {
	err := error(&ServiceError{Service: "Fulcio", Op: "asking", URL: "https://x", Status: 400, Message: "no"})
	if err.Error() != "asking at https://x: Fulcio answered 400: no" {
		t.Errorf("%v", err)
	}
	if publicURL("https://u:p@x/y?token=z#f") != "https://x/y" {
		t.Error(publicURL("https://u:p@x/y?token=z#f"))
	}
	if !bytes.Contains([]byte(oneLine("a\x1b[2Jb\nc\u202ed", 100)), []byte("a [2Jb c d")) {
		t.Errorf("%q", oneLine("a\x1b[2Jb\nc\u202ed", 100))
	}
	if ReasonOf(errors.New("x")) != "" || HintOf(errors.New("x")) != "" {
		t.Error("a foreign error has a reason")
	}
}
