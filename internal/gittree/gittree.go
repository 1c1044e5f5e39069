// Package gittree reads the files of a git revision without checking it out: a read-only file system over the
// objects that a repository holds, by the git on this machine. Nothing of the repository is run or written: neither
// hooks nor filters nor attributes count, and what is read is what was committed, byte for byte.
//
// Objects are asked for by their hashes and never by names out of the repository, so that no name can be taken for
// anything else. Sizes and counts are bounded.
package gittree

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits on what is read of one object.
const (
	maxBlob    = 256 << 20 // bytes of one file
	maxTree    = 64 << 20  // bytes of one directory
	maxEntries = 500_000   // names in one directory
	maxLinks   = 40        // symlinks followed on one path, as Linux has it
)

// A Tree is a directory as it is at one commit, as a file system: "." is the directory itself. It implements
// fs.StatFS, fs.ReadDirFS and fs.ReadLinkFS. Symlinks are followed within it, and submodules are empty. Its methods
// are safe for concurrent use; [Tree.Close] ends the processes behind it.
type Tree struct {
	// Commit is the full hash of the commit.
	Commit string

	root     string // hash of the directory's tree; "" where the commit has no such directory
	mu       sync.Mutex
	contents *batch
	headers  *batch
	trees    map[string][]entry
}

// entry is one name in a directory.
type entry struct {
	name string
	mode uint32 // as git has it: 0o040000, 0o100644, 0o100755, 0o120000 or 0o160000
	hash string
}

// Open returns the directory dir of a work tree as it was at a commit, which is a full hash. Where the commit has no
// such directory, the Tree is empty.
func Open(ctx context.Context, dir, commit string) (*Tree, error) {
	if !isHash(commit) {
		return nil, fmt.Errorf("%q is not the full hash of a commit", commit)
	}
	prefix, err := Git(ctx, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, err
	}
	top, err := Git(ctx, dir, "rev-parse", "--verify", "--quiet", commit+"^{tree}")
	if err != nil {
		return nil, fmt.Errorf("the repository does not hold commit %s: %w", commit, err)
	}
	t := &Tree{Commit: commit, trees: make(map[string][]entry)}
	if t.contents, err = startBatch(ctx, dir, "--batch"); err != nil {
		return nil, err
	}
	if t.headers, err = startBatch(ctx, dir, "--batch-check"); err != nil {
		t.Close()
		return nil, err
	}
	t.root = strings.TrimSpace(top)
	for name := range strings.SplitSeq(strings.TrimRight(prefix, "\r\n"), "/") {
		if name == "" {
			continue
		}
		list, err := t.tree(t.root)
		if err != nil {
			t.Close()
			return nil, err
		}
		at := slices.IndexFunc(list, func(e entry) bool { return e.name == name && e.mode == 0o040000 })
		if at < 0 {
			t.root = ""
			break
		}
		t.root = list[at].hash
	}
	return t, nil
}

// Close ends the processes behind the tree.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.contents.close()
	t.headers.close()
	return nil
}

// Open implements fs.FS.
func (t *Tree) Open(name string) (fs.File, error) {
	e, at, err := t.walk("open", name, true)
	if err != nil {
		return nil, err
	}
	switch e.mode {
	case 0o040000:
		list, err := t.dir(e)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &directory{info: info{name: path.Base(at), mode: fs.ModeDir | 0o555}, list: list}, nil
	case 0o160000:
		return &directory{info: info{name: path.Base(at), mode: fs.ModeDir | 0o555}}, nil
	}
	data, err := t.blob(e.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{info: info{name: path.Base(name), mode: 0o444, size: int64(len(data))}, Reader: bytes.NewReader(data)}, nil
}

// Stat implements fs.StatFS without reading a file.
func (t *Tree) Stat(name string) (fs.FileInfo, error) { return t.stat("stat", name, true) }

// Lstat implements fs.ReadLinkFS.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t *Tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	e, _, err := t.walk(op, name, follow)
	if err != nil {
		return nil, err
	}
	i := info{name: path.Base(name), mode: modeOf(e.mode)}
	if e.mode != 0o040000 && e.mode != 0o160000 {
		t.mu.Lock()
		_, i.size, err = t.headers.header(e.hash)
		t.mu.Unlock()
		if err != nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	return i, nil
}

// ReadLink implements fs.ReadLinkFS.
func (t *Tree) ReadLink(name string) (string, error) {
	e, _, err := t.walk("readlink", name, false)
	if err == nil && e.mode != 0o120000 {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return "", err
	}
	data, err := t.blob(e.hash)
	return string(data), err
}

// ReadDir implements fs.ReadDirFS.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	d, ok := f.(*directory)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return d.list, nil
}

// walk finds what lies at a path, and where it really lies.
func (t *Tree) walk(op, name string, follow bool) (entry, string, error) {
	fail := func(err error) (entry, string, error) {
		return entry{}, "", &fs.PathError{Op: op, Path: name, Err: err}
	}
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	if t.root == "" {
		return fail(fs.ErrNotExist)
	}
	here := []entry{{mode: 0o040000, hash: t.root}} // the directories down to where we are
	var at []string
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..": // out of a symlink only
			if len(at) == 0 {
				return fail(errors.New("it leads out of the directory"))
			}
			here, at = here[:len(here)-1], at[:len(at)-1]
			continue
		}
		parent := here[len(here)-1]
		if parent.mode != 0o040000 {
			return fail(fs.ErrNotExist)
		}
		t.mu.Lock()
		list, err := t.tree(parent.hash)
		t.mu.Unlock()
		if err != nil {
			return fail(err)
		}
		i := slices.IndexFunc(list, func(e entry) bool { return e.name == part })
		if i < 0 {
			return fail(fs.ErrNotExist)
		}
		e := list[i]
		if e.mode == 0o120000 && (follow || len(rest) > 0) {
			target, err := t.blob(e.hash)
			switch links++; {
			case err != nil:
				return fail(err)
			case links > maxLinks:
				return fail(errors.New("too many symlinks"))
			case len(target) > 4096 || bytes.HasPrefix(target, []byte("/")) || len(target) == 0:
				return fail(errors.New("it leads out of the directory"))
			}
			rest = append(strings.Split(string(target), "/"), rest...)
			continue
		}
		here, at = append(here, e), append(at, part)
	}
	return here[len(here)-1], path.Join(append([]string{"."}, at...)...), nil
}

// dir lists a directory.
func (t *Tree) dir(e entry) ([]fs.DirEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, err := t.tree(e.hash)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, 0, len(list))
	for _, e := range list {
		if fs.ValidPath(e.name) && !strings.Contains(e.name, "/") {
			entries = append(entries, dirEntry{t, e})
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// tree reads a tree object. Who calls it holds the lock.
func (t *Tree) tree(hash string) ([]entry, error) {
	if list, ok := t.trees[hash]; ok {
		return list, nil
	}
	data, err := t.contents.read(hash, "tree", maxTree)
	if err != nil {
		return nil, err
	}
	list, err := parseTree(data, len(hash)/2)
	if err != nil {
		return nil, fmt.Errorf("reading tree %s: %w", hash, err)
	}
	t.trees[hash] = list
	return list, nil
}

func (t *Tree) blob(hash string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.contents.read(hash, "blob", maxBlob)
}

// parseTree reads a tree object: mode, space, name, NUL, hash, over and over (git's Documentation, gitformat-pack and
// "Git Internals - Git Objects").
func parseTree(data []byte, hashLen int) ([]entry, error) {
	var list []entry
	for len(data) > 0 {
		mode, rest, ok := bytes.Cut(data, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < hashLen {
			return nil, errors.New("it breaks off")
		}
		m, err := strconv.ParseUint(string(mode), 8, 32)
		if err != nil {
			return nil, fmt.Errorf("mode %q", mode)
		}
		if len(list) == maxEntries {
			return nil, fmt.Errorf("more than %d names", maxEntries)
		}
		list = append(list, entry{string(name), uint32(m), hex.EncodeToString(rest[:hashLen])})
		data = rest[hashLen:]
	}
	return list, nil
}

// batch is a git process that answers for one object after the other.
type batch struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	cancel context.CancelFunc
	broken error // after which nothing it says can be told apart
}

func startBatch(ctx context.Context, dir, mode string) (*batch, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &batch{cmd: command(ctx, dir, "cat-file", mode), cancel: cancel}
	in, err := b.cmd.StdinPipe()
	if err == nil {
		var out io.ReadCloser
		if out, err = b.cmd.StdoutPipe(); err == nil {
			b.in, b.out = in, bufio.NewReaderSize(out, 64<<10)
			err = b.cmd.Start()
		}
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("starting git: %w", err)
	}
	return b, nil
}

func (b *batch) close() {
	if b == nil {
		return
	}
	b.in.Close()
	b.cancel()
	_ = b.cmd.Wait() // it was told to end, in whatever it was
}

// header asks for an object and returns what git says of it.
func (b *batch) header(hash string) (kind string, size int64, err error) {
	if b.broken != nil {
		return "", 0, b.broken
	}
	if _, err = io.WriteString(b.in, hash+"\n"); err == nil {
		var line string
		if line, err = b.out.ReadString('\n'); err == nil {
			f := strings.Fields(line)
			if len(f) == 2 && f[1] == "missing" {
				return "", 0, fmt.Errorf("the repository does not hold object %s: %w", hash, fs.ErrNotExist)
			}
			if len(f) == 3 && f[0] == hash {
				if size, err = strconv.ParseInt(f[2], 10, 64); err == nil && size >= 0 {
					return f[1], size, nil
				}
			}
			err = fmt.Errorf("git answers %q", line)
		}
	}
	b.broken = fmt.Errorf("reading object %s: %w", hash, err)
	return "", 0, b.broken
}

// read returns an object of a kind and of at most max bytes.
func (b *batch) read(hash, kind string, max int64) ([]byte, error) {
	got, size, err := b.header(hash)
	if err != nil {
		return nil, err
	}
	if got != kind || size > max {
		// What is too large is not even passed over: that could take for ever.
		b.broken = fmt.Errorf("object %s is a %s of %d bytes, and a %s of at most %d is read", hash, got, size, kind, max)
		return nil, b.broken
	}
	data := make([]byte, size+1) // and a newline
	if _, err := io.ReadFull(b.out, data); err != nil {
		b.broken = fmt.Errorf("reading object %s: %w", hash, err)
		return nil, b.broken
	}
	return data[:size], nil
}

func isHash(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && (len(s) == 40 || len(s) == 64)
}

// command is git in a directory. A directory that looks like a bare repository, as any commit can hold one, is none:
// its configuration would name programs to run. The variables by which git tells a hook which repository it runs for, and which
// index, are left out: the directory says that.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "safe.bareRepository=explicit", "--no-pager", "--literal-pathspecs"}, args...)...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
			"GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES", "GIT_EXTERNAL_DIFF", "GIT_TRACE", "GIT_REPLACE_REF_BASE":
			continue
		}
		cmd.Env = append(cmd.Env, v)
	}
	cmd.Env = append(cmd.Env, "GIT_NO_REPLACE_OBJECTS=1", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
	return cmd
}

// maxOutput bounds what is read of one answer of git's.
const maxOutput = 64 << 20

// Git runs git in a directory and returns what it prints, at most 64 MiB. An error holds what git says is wrong.
func Git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := command(ctx, dir, args...)
	var stdout, stderr limited
	stdout.left, stderr.left = maxOutput, 4<<10
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	if stdout.over {
		return "", fmt.Errorf("git %s prints more than %d bytes", args[0], maxOutput)
	}
	return stdout.String(), nil
}

// limited is a buffer that drops what is too much.
type limited struct {
	bytes.Buffer
	left int
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.over = l.over || n < len(p)
	l.left -= n
	l.Buffer.Write(p[:n])
	return len(p), nil
}

func modeOf(m uint32) fs.FileMode {
	switch m {
	case 0o040000, 0o160000:
		return fs.ModeDir | 0o555
	case 0o120000:
		return fs.ModeSymlink | 0o444
	}
	return 0o444
}

type info struct {
	name string
	mode fs.FileMode
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

type dirEntry struct {
	t *Tree
	e entry
}

func (d dirEntry) Name() string               { return d.e.name }
func (d dirEntry) IsDir() bool                { return modeOf(d.e.mode).IsDir() }
func (d dirEntry) Type() fs.FileMode          { return modeOf(d.e.mode).Type() }
func (d dirEntry) Info() (fs.FileInfo, error) { return d.info() }
func (d dirEntry) info() (i info, err error) {
	i = info{name: d.e.name, mode: modeOf(d.e.mode)}
	if !i.mode.IsDir() {
		d.t.mu.Lock()
		_, i.size, err = d.t.headers.header(d.e.hash)
		d.t.mu.Unlock()
	}
	return i, err
}

type file struct {
	info
	*bytes.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// Size settles which of the two embedded ones counts.
func (f *file) Size() int64 { return f.info.size }

type directory struct {
	info
	list []fs.DirEntry
	at   int
}

func (d *directory) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *directory) Close() error               { return nil }
func (d *directory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

func (d *directory) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.list[d.at:]
	if n > 0 && len(rest) == 0 {
		return nil, io.EOF
	}
	if n > 0 {
		rest = rest[:min(n, len(rest))]
	}
	d.at += len(rest)
	return rest, nil
}
