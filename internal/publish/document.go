package publish

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"assay/internal/npm"
)

// A Document is the body of a publish: what npm puts to PUT /name (libnpmpublish lib/publish.js, buildMetadata).
type Document struct {
	Version []byte // the version's document in it, as the registry will serve it but for what the registry adds
	root    object
	id      npm.ID
}

// DocumentOptions say how a document is made.
type DocumentOptions struct {
	Registry string   // base URL
	Access   string   // "" where the registry decides
	Tag      string   // distribution tag; "" for npm's own choice
	GitHead  string   // commit that was packed; "" leaves it out
	Environ  []string // environment for npm, without secrets
	Progress io.Writer
}

// NewDocument has npm itself write the document for a tarball: npm publishes it to a listener on this machine that
// takes down what it is sent and is nothing else. So the document is npm's own, whatever version of npm is installed,
// with its normalised manifest, readme and all. npm gets no token, no configuration and no address but the
// listener's. What it adds only because it was given a file (_resolved and the like) is taken out again, and the
// commit is added as it is for a directory.
func NewDocument(ctx context.Context, p *Package, o DocumentOptions) (*Document, error) {
	body, base, err := recordPublish(ctx, p, o)
	if err != nil {
		return nil, fmt.Errorf("having npm write the publish document: %w", err)
	}
	d, err := readDocument(body, p, o, base)
	if err != nil {
		return nil, fmt.Errorf("reading npm's publish document: %w", err)
	}
	return d, nil
}

// recordPublish runs npm publish against a listener and returns the body of its PUT.
func recordPublish(ctx context.Context, p *Package, o DocumentOptions) (body []byte, base string, err error) {
	temp, err := os.MkdirTemp("", "assay-publish-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(temp)
	file := filepath.Join(temp, "package.tgz")
	if err := os.WriteFile(file, p.Bytes, 0o600); err != nil {
		return nil, "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	// Whatever runs on this machine can send something here first, such as what the build left running. npm sends one
	// PUT, so where more than one came none is believed.
	var mu sync.Mutex
	var got [][]byte
	puts := 0
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodPut {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "{}")
			return
		}
		mu.Lock()
		puts++
		first := puts == 1
		mu.Unlock()
		if !first {
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, "{}")
			return
		}
		if data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2*maxPackage)); err == nil {
			mu.Lock()
			got = append(got, data)
			mu.Unlock()
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, "{}")
	})}
	go server.Serve(ln) // ends with Close
	defer server.Close()
	host := ln.Addr().String()
	base = "http://" + host + "/"
	none := filepath.Join(temp, "none")
	args := []string{"publish", file, "--registry=" + base, "--//" + host + "/:_authToken=recorder", "--provenance=false", "--ignore-scripts",
		"--userconfig=" + none, "--globalconfig=" + none + "2", "--cache=" + filepath.Join(temp, "cache"), "--update-notifier=false",
		"--noproxy=127.0.0.1", "--workspaces=false", "--dry-run=false", "--force=false", "--fetch-retries=0", "--audit=false"}
	if scope := npm.Scope(p.Name); scope != "" {
		args = append(args, "--"+scope+":registry="+base)
	}
	if o.Access != "" {
		args = append(args, "--access="+o.Access)
	}
	if o.Tag != "" {
		args = append(args, "--tag="+o.Tag)
	}
	out := o.Progress
	if out == nil {
		out = io.Discard
	}
	err = run(ctx, temp, recorderEnvironment(o.Environ), out, "npm", args...)
	mu.Lock()
	defer mu.Unlock()
	switch {
	case puts > 1:
		return nil, "", refuse("document", "find out what the build leaves running; it has to end before the package is published",
			"%d documents were sent where npm sends one: another process on this machine tried to choose what the registry is told", puts)
	case err != nil:
		return nil, "", err
	case len(got) != 1:
		return nil, "", errors.New("npm ended without sending it")
	}
	return got[0], base, nil
}

// recorderEnvironment takes out what could give npm another registry, a proxy or a token.
func recorderEnvironment(environ []string) []string {
	var out []string
	for _, e := range Clean(environ) {
		name, _, _ := strings.Cut(e, "=")
		switch lower := strings.ToLower(name); {
		case strings.HasPrefix(lower, "npm_config_"), strings.HasPrefix(lower, "npm_package_"), strings.HasSuffix(lower, "_proxy"), lower == "proxy":
			continue
		}
		out = append(out, e)
	}
	return append(out, "NO_PROXY=127.0.0.1")
}

// fromFile are the members that npm adds to a manifest because it came out of a file (pacote lib/file.js).
var fromFile = []string{"_resolved", "_from", "_integrity"}

// topLevel are the members of npm's document (libnpmpublish lib/publish.js, buildMetadata).
var topLevel = []string{"_id", "name", "description", "dist-tags", "versions", "access", "_attachments"}

// checkTop refuses what says more than that this version is to be published, with the tag and the access asked for.
func checkTop(root object, p *Package, o DocumentOptions) error {
	for _, m := range root {
		if !slices.Contains(topLevel, m.name) {
			return fmt.Errorf("its member %q is one that npm does not send", m.name)
		}
	}
	if id := root.text("_id"); id != p.Name {
		return fmt.Errorf("its _id is %q", id)
	}
	tags, err := parseObject(root.get("dist-tags"))
	if err != nil {
		return fmt.Errorf("dist-tags: %w", err)
	}
	if tag := cmp.Or(o.Tag, "latest"); len(tags) != 1 || tags.text(tag) != p.Version {
		return fmt.Errorf("its distribution tags are %s, and %s is to be %s", oneLine(string(root.get("dist-tags")), 200), tag, p.Version)
	}
	access := root.text("access")
	if raw := root.get("access"); access == "" && raw != nil && string(raw) != "null" {
		return errors.New("its access is no text")
	}
	// Where nothing was asked for, npm takes what the tarball's publishConfig says.
	if want := cmp.Or(o.Access, p.Setting("access")); access != want {
		return fmt.Errorf("its access is %q, and %q was asked for", access, want)
	}
	return nil
}

// checkVersion refuses members of the version's document that are the maintainer's to set, and not in the package.
func checkVersion(version object, p *Package) error {
	if version.text("name") != p.Name || version.text("version") != p.Version || version.text("_id") != p.ID().String() {
		return fmt.Errorf("its version's document is not about %s", p.ID())
	}
	manifest, err := parseObject(bytes.TrimPrefix(p.Tarball.Manifest, []byte("\ufeff")))
	if err != nil {
		manifest = nil // a package.json that only npm can read
	}
	if version.get("deprecated") != nil && manifest.get("deprecated") == nil {
		return errors.New("it deprecates the version, and the tarball's package.json does not")
	}
	return nil
}

func readDocument(body []byte, p *Package, o DocumentOptions, base string) (*Document, error) {
	root, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	versions, err := parseObject(root.get("versions"))
	if err != nil {
		return nil, fmt.Errorf("versions: %w", err)
	}
	if root.text("name") != p.Name || len(versions) != 1 || versions[0].name != p.Version {
		return nil, fmt.Errorf("it is not about %s", p.ID())
	}
	if err := checkTop(root, p, o); err != nil {
		return nil, err
	}
	version, err := parseObject(versions.get(p.Version))
	if err != nil {
		return nil, fmt.Errorf("versions: %w", err)
	}
	if err := checkVersion(version, p); err != nil {
		return nil, err
	}
	for _, name := range fromFile {
		version.set(name, nil)
	}
	if o.GitHead != "" {
		version.set("gitHead", o.GitHead)
	}
	dist, err := parseObject(version.get("dist"))
	if err != nil {
		return nil, fmt.Errorf("dist: %w", err)
	}
	if got := dist.text("integrity"); got != p.Integrity() {
		return nil, fmt.Errorf("its integrity is %q, and the tarball's is %q", got, p.Integrity())
	}
	path, ok := strings.CutPrefix(dist.text("tarball"), base)
	if !ok {
		return nil, fmt.Errorf("dist.tarball is %q", dist.text("tarball"))
	}
	// npm writes http here whatever the registry has, and the registry replaces it (libnpmpublish lib/publish.js).
	address := strings.TrimRight(o.Registry, "/") + "/" + path
	if rest, ok := strings.CutPrefix(address, "https://"); ok {
		address = "http://" + rest
	}
	dist.set("tarball", address)
	version.set("dist", dist)
	attachments, err := parseObject(root.get("_attachments"))
	if err != nil {
		return nil, fmt.Errorf("_attachments: %w", err)
	}
	tarball, err := parseObject(attachments.get(p.Name + "-" + p.Version + ".tgz"))
	if err != nil || len(attachments) != 1 {
		return nil, errors.New("_attachments does not hold the tarball alone")
	}
	sent, err := base64.StdEncoding.DecodeString(tarball.text("data"))
	if err != nil || !bytes.Equal(sent, p.Bytes) {
		return nil, errors.New("the tarball in it is not the one that was packed")
	}
	d := &Document{Version: version.json(), root: root, id: p.ID()}
	versions.set(p.Version, json.RawMessage(d.Version))
	d.root.set("versions", versions)
	return d, nil
}

// With returns the body with a bundle attached: as text, with its length in UTF-16 units, which is what JavaScript
// counts.
func (d *Document) With(bundle []byte) ([]byte, error) {
	b, err := parseObject(bundle)
	if err != nil {
		return nil, fmt.Errorf("the bundle: %w", err)
	}
	attachments, err := parseObject(d.root.get("_attachments"))
	if err != nil {
		return nil, err
	}
	attachments.set(d.id.Name+"-"+d.id.Version+".sigstore", object{
		{"content_type", b.text("mediaType")},
		{"data", string(bundle)},
		{"length", json.RawMessage(fmt.Append(nil, len(utf16.Encode([]rune(string(bundle))))))},
	})
	root := append(object{}, d.root...)
	root.set("_attachments", attachments)
	return root.json(), nil
}

// originOf is a registry's origin: npm resolves some paths against it, dropping the base path.
func originOf(registry string) string {
	u, err := url.Parse(registry)
	if err != nil {
		return registry
	}
	return u.Scheme + "://" + u.Host
}
