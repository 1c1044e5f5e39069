package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openDir(t *testing.T, files map[string]string) *Project {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Open(dir, Options{Omit: []string{"dev"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const installedLock = `{"name":"app","lockfileVersion":3,"packages":{
	"":{"name":"app","dependencies":{"a":"1","g":"git+https://example.com/g.git"},"devDependencies":{"d":"1"}},
	"node_modules/a":{"version":"1.0.0","dependencies":{"b":"1"},"bundleDependencies":["b"]},
	"node_modules/a/node_modules/b":{"version":"1.0.0","inBundle":true},
	"node_modules/d":{"version":"1.0.0","dev":true},
	"node_modules/g":{"version":"1.0.0","resolved":"git+ssh://git@example.com/g.git#0123456789012345678901234567890123456789","dependencies":{"h":"1"},"bundleDependencies":["h"]},
	"node_modules/g/node_modules/h":{"version":"1.0.0","inBundle":true}
}}`

func strayPaths(all []Other) string {
	var paths []string
	for _, o := range all {
		paths = append(paths, o.Locations[0].Path)
	}
	return strings.Join(paths, " ")
}

func TestStrays(t *testing.T) {
	p := openDir(t, map[string]string{
		"package-lock.json": installedLock, "node_modules/a/x": "", "node_modules/a/node_modules/b/x": "", "node_modules/a/node_modules/z.js": "",
		"node_modules/d/x": "", "node_modules/g/node_modules/h/x": "", "node_modules/g/node_modules/i/x": "", "node_modules/.bin/x": "",
		"node_modules/.DS_Store": "", "node_modules/@s/.DS_Store": "", "node_modules/@s/x/y": "", "node_modules/a.js": "", "node_modules/node_modules/x": "", "node_modules/\x1b[2J": "",
	})
	strays := p.Strays()
	want := `"node_modules/\x1b[2J" node_modules/.bin/x node_modules/@s/x node_modules/a.js node_modules/g/node_modules/i node_modules/node_modules`
	if got := strayPaths(strays); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, o := range strays {
		if o.Source != SourceUnknown || o.Oddity == "" || o.Name == "" || strings.Contains(o.Name+o.Oddity, "\x1b") {
			t.Errorf("%+v", o)
		}
	}
	for place, want := range map[string]bool{
		"node_modules/a": true, "node_modules/d": true, "node_modules/g/node_modules/h": true,
		"node_modules/a/node_modules/b": false, "node_modules/x": false, "node_modules/a.js": false, "node_modules": false,
	} {
		if got := p.Lists(place); got != want {
			t.Errorf("Lists(%q) = %v", place, got)
		}
	}
}

func TestStraysBounded(t *testing.T) {
	files := map[string]string{"package-lock.json": installedLock}
	for i := range maxStrays + 5 {
		files[fmt.Sprintf("node_modules/x%d.js", i)] = ""
	}
	all := openDir(t, files).Strays()
	if len(all) != maxStrays+1 || !strings.Contains(all[maxStrays].Oddity, "5 more") {
		t.Errorf("%d strays, the last %q", len(all), all[len(all)-1].Oddity)
	}
}

func TestStraysNowhere(t *testing.T) {
	if all := openDir(t, map[string]string{"package-lock.json": installedLock}).Strays(); len(all) > 0 {
		t.Errorf("nothing is installed: %s", strayPaths(all))
	}
	if all := openDir(t, map[string]string{"package-lock.json": installedLock, "node_modules": ""}).Strays(); strayPaths(all) != "node_modules" {
		t.Errorf("a file in its place: %s", strayPaths(all))
	}
	if all := openDir(t, map[string]string{"node_modules/x/package.json": `{"name":"x","version":"1.0.0"}`}).Strays(); len(all) > 0 {
		t.Errorf("without a lockfile: %s", strayPaths(all))
	}
}
