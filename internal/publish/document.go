package publish

import (
	"bytes"
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
	"strings"
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
	got := make(chan []byte, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodPut {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "{}")
			return
		}
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2*maxPackage))
		if err == nil {
			select {
			case got <- data:
			default: // a second one, which npm never sends
			}
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
	if err := run(ctx, temp, recorderEnvironment(o.Environ), out, "npm", args...); err != nil {
		return nil, "", err
	}
	select {
	case body = <-got:
		return body, base, nil
	default:
		return nil, "", errors.New("npm ended without sending it")
	}
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
	version, err := parseObject(versions.get(p.Version))
	if err != nil {
		return nil, fmt.Errorf("versions: %w", err)
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
