package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A RefreshError says why TUF's current state could not be had.
type RefreshError struct {
	URL    string // of the repository
	Reason string // stable code; one of [Reasons]
	Err    error
}

func (e *RefreshError) Error() string {
	return fmt.Sprintf("refreshing trust from %s: %v", e.URL, e.Err)
}

func (e *RefreshError) Unwrap() error { return e.Err }

// Reasons of a [RefreshError] and of [Source.Reason].
const (
	reasonOffline    = "offline"
	reasonTimeout    = "timeout"
	reasonConnection = "connection"
	reasonStatus     = "http-status"
	reasonTooLarge   = "too-large"
	reasonExpired    = "expired"
	reasonSignature  = "signature"
	reasonRollback   = "rollback"
	reasonHash       = "hash-mismatch"
	reasonMissing    = "target-missing"
	reasonMalformed  = "malformed"
	reasonLocal      = "local"
)

// Reasons lists the codes of [RefreshError] and [Source.Reason] with a sentence each.
var Reasons = map[string]string{
	reasonOffline:    "no network request was allowed",
	reasonTimeout:    "the TUF repository did not answer in time",
	reasonConnection: "the TUF repository could not be reached",
	reasonStatus:     "the TUF repository answered with an error",
	reasonTooLarge:   "the TUF repository sent more than is read",
	reasonExpired:    "what the TUF repository serves has expired",
	reasonSignature:  "what the TUF repository serves is not signed as it must be",
	reasonRollback:   "the TUF repository serves an older state than before",
	reasonHash:       "what the TUF repository serves is not what its metadata says",
	reasonMissing:    "the TUF repository lists no such file",
	reasonMalformed:  "what the TUF repository serves cannot be read",
	reasonLocal:      "a temporary directory or the cache could not be used",
}

// Bounds on one refresh.
const (
	maxRequests = 128      // answers asked for
	maxDownload = 64 << 20 // bytes
)

// refresh asks the TUF repository for its current state by way of Sigstore's TUF client. prior is what was
// verified earlier, nil for nothing: the repository must not fall behind it. start is the newest TUF root
// that is trusted. The client works in a directory that holds nothing but prior, and what it accepts is
// verified once more from start, so that nothing depends on what others may write there.
func (o *Options) refresh(ctx context.Context, start []byte, prior *state, names []string) (*state, error) {
	dir, err := os.MkdirTemp("", "assay-tuf-")
	if err != nil {
		return nil, &localError{err}
	}
	defer os.RemoveAll(dir)
	seed := &Metadata{Roots: [][]byte{start}}
	if prior != nil {
		seed = prior.metadata
	}
	work := workDir(filepath.Join(dir, tuf.URLToPath(o.TUFURL)))
	if err := work.write(seed, o.TUFRoot == nil); err != nil {
		return nil, &localError{err}
	}
	get := o.fetcher(ctx)
	files, absent, err := runClient(&tuf.Options{
		Root:              seed.Roots[len(seed.Roots)-1],
		RepositoryBaseURL: o.TUFURL,
		CachePath:         dir,
		Fetcher:           get,
		Context:           ctx,
	}, names)
	if err != nil {
		return nil, get.cause(err)
	}
	got := &Metadata{Roots: slices.Concat(seed.Roots, get.roots), Files: files}
	if err := work.read(got); err != nil {
		return nil, &localError{err}
	}
	st, err := got.verify(start, o.Now(), names)
	if err == nil && len(st.missing) == 0 {
		return st, nil // a file that the client could not find is one that TUF does not list
	}
	if absent != nil {
		return nil, get.cause(absent) // the client knows more of why than can be told from what it left
	}
	if err == nil {
		err = cmp.Or(st.wrong(), errors.New("a target file that TUF lists was not received"))
	}
	return nil, err
}

// runClient has Sigstore's TUF client refresh itself and get the named targets. The first target that it does
// not get is told in absent; it may be one that TUF does not list. For the recover see [Metadata.verify].
func runClient(o *tuf.Options, names []string) (files map[string][]byte, absent, err error) {
	defer func() {
		if p := recover(); p != nil {
			files, err = nil, fmt.Errorf("signed metadata is malformed: %v", p)
		}
	}()
	client, err := tuf.New(o)
	if err != nil {
		return nil, nil, err
	}
	files = make(map[string][]byte)
	for _, name := range names {
		data, err := client.GetTarget(name)
		if err != nil {
			absent = cmp.Or(absent, err)
			continue
		}
		files[name] = data
	}
	return files, absent, nil
}

// A workDir is the directory in which Sigstore's TUF client keeps metadata, and targets below it.
type workDir string

// write puts metadata and target files where the client looks for them: for rollback protection, and so that
// only what changed is asked for. The embedded files are offered as well; the client takes them only if
// their hashes are what TUF lists.
func (d workDir) write(m *Metadata, embedded bool) error {
	files := make(map[string][]byte)
	for name, data := range map[string][]byte{metadata.TIMESTAMP: m.Timestamp, metadata.SNAPSHOT: m.Snapshot, metadata.TARGETS: m.Targets} {
		if data != nil {
			files[name+".json"] = data
		}
	}
	for name, data := range m.Delegated {
		files[url.PathEscape(name)+".json"] = data
	}
	if embedded {
		for name, data := range embeddedState().files {
			files[filepath.Join("targets", url.PathEscape(name))] = data
		}
	}
	for name, data := range m.Files {
		files[filepath.Join("targets", url.PathEscape(name))] = data
	}
	if err := os.MkdirAll(filepath.Join(string(d), "targets"), 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(string(d), name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// read takes up the metadata that the client holds by now, save the roots.
func (d workDir) read(m *Metadata) error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	m.Delegated = make(map[string][]byte)
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || e.IsDir() {
			continue
		}
		data, err := readFile(filepath.Join(string(d), e.Name()), maxRole)
		if err != nil {
			return err
		}
		switch name {
		case metadata.ROOT:
		case metadata.TIMESTAMP:
			m.Timestamp = data
		case metadata.SNAPSHOT:
			m.Snapshot = data
		case metadata.TARGETS:
			m.Targets = data
		default:
			if name, err = url.PathUnescape(name); err != nil {
				return err
			}
			m.Delegated[name] = data
		}
	}
	return nil
}

// A fetcher carries the TUF client's requests, bounded in time, number and size. It is not safe for concurrent
// use, and need not be.
type fetcher struct {
	ctx       context.Context
	client    *http.Client
	userAgent string

	requests int
	received int64
	roots    [][]byte // root metadata received, in order
	failed   error    // the last error returned other than 404
}

// defaultTransport is shared, so that programs which refresh every day do not pile up idle connections.
var defaultTransport = sync.OnceValue(func() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	t.TLSHandshakeTimeout = 5 * time.Second
	t.IdleConnTimeout = 5 * time.Second
	return t
})

func (o *Options) fetcher(ctx context.Context) *fetcher {
	rt := o.Transport
	if rt == nil {
		rt = defaultTransport()
	}
	return &fetcher{ctx: ctx, userAgent: o.UserAgent, client: &http.Client{
		Transport: rt,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 5 {
				return errors.New("more than 5 redirects")
			}
			if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return fmt.Errorf("redirect from https to %s", r.URL.Scheme)
			}
			return nil
		},
	}}
}

// DownloadFile implements the TUF client's fetcher.Fetcher. A failed connection and a server's error are tried
// once more.
func (f *fetcher) DownloadFile(address string, limit int64, _ time.Duration) ([]byte, error) {
	isRoot := strings.HasSuffix(address, "."+metadata.ROOT+".json")
	data, err := f.get(address, limit)
	if retryable(err) {
		select {
		case <-f.ctx.Done():
		case <-time.After(200 * time.Millisecond):
			data, err = f.get(address, limit)
		}
	}
	var status *metadata.ErrDownloadHTTP
	if errors.As(err, &status) && status.StatusCode == http.StatusForbidden && isRoot {
		// Object stores that may not be listed answer 403 for what does not exist. To TUF, either means
		// that there is no newer root (python-tuf does the same); who can forge the one can forge the other.
		status.StatusCode = http.StatusNotFound
	}
	if err != nil {
		if status == nil || status.StatusCode != http.StatusNotFound || !isRoot {
			f.failed = err
		}
		return nil, err
	}
	if isRoot {
		f.roots = append(f.roots, data)
	}
	return data, nil
}

func (f *fetcher) get(address string, limit int64) ([]byte, error) {
	if f.requests++; f.requests > maxRequests {
		return nil, tooLarge("more than %d requests", maxRequests)
	}
	limit = min(limit, maxTarget, maxDownload-f.received)
	req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", f.userAgent)
	res, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: res.StatusCode, URL: address}
	}
	if res.ContentLength > limit {
		return nil, tooLarge("%s is %d bytes long, larger than %d", path.Base(address), res.ContentLength, limit)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	f.received += int64(len(data))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", address, err)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge("%s is larger than %d bytes", path.Base(address), limit)
	}
	return data, nil
}

func tooLarge(format string, args ...any) error {
	return &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf(format, args...)}
}

func retryable(err error) bool {
	var status *metadata.ErrDownloadHTTP
	var length *metadata.ErrDownloadLengthMismatch
	switch {
	case err == nil || errors.As(err, &length):
		return false
	case errors.As(err, &status):
		return status.StatusCode >= 500 || status.StatusCode == http.StatusTooManyRequests
	}
	return !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// cause puts the last failed request before the client's error, which does not always wrap it.
func (f *fetcher) cause(err error) error {
	if f.failed != nil && !errors.Is(err, f.failed) {
		return fmt.Errorf("%w (%w)", err, f.failed)
	}
	return err
}

// A localError is trouble on this machine rather than with the repository.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// refreshError finds the reason's code.
func (o *Options) refreshError(err error) *RefreshError {
	var (
		status   *metadata.ErrDownloadHTTP
		length   *metadata.ErrDownloadLengthMismatch
		hash     *metadata.ErrLengthOrHashMismatch
		unsigned *metadata.ErrUnsignedMetadata
		expired  *metadata.ErrExpiredMetadata
		version  *metadata.ErrBadVersionNumber
		repo     *metadata.ErrRepository
		network  net.Error
		request  *url.Error
		local    *localError
		reason   string
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		reason = reasonTimeout
	case errors.Is(err, errAbsent):
		reason = reasonMissing
	case errors.As(err, &local):
		reason = reasonLocal
	case errors.As(err, &status):
		reason = reasonStatus
	case errors.As(err, &length):
		reason = reasonTooLarge
	case errors.As(err, &hash):
		reason = reasonHash
	case errors.As(err, &unsigned):
		reason = reasonSignature
	case errors.As(err, &expired):
		reason = reasonExpired
	case errors.As(err, &version), errors.As(err, &repo):
		reason = reasonRollback
	case errors.As(err, &request), errors.Is(err, io.ErrUnexpectedEOF):
		reason = reasonConnection
	default:
		reason = reasonMalformed
	}
	return &RefreshError{URL: o.TUFURL, Reason: reason, Err: err}
}
