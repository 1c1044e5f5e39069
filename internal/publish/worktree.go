package publish

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// CheckWorktree refuses a working tree that is not what the provenance will say: another commit than the job's, or
// tracked files that were changed, or that git was told not to look at. Files that git does not track are no concern of it, such as what a build makes.
// env is the environment for git.
func CheckWorktree(ctx context.Context, dir string, ci *CI, env []string) error {
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...)
		cmd.Env = gitEnvironment(env)
		out, err := cmd.Output()
		return strings.TrimRight(string(out), "\n"), err
	}
	head, err := git("rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return gitError(ctx, dir, err)
	}
	if want := ci.Commit(); head != want {
		return refuse("commit-differs", "check out the commit that the job runs for; in the workflow, actions/checkout without \"ref\"",
			"the working tree is at commit %s, and the job runs for %s (%s), which is what the provenance would say", head, want, ci.CommitVariable())
	}
	changed, err := git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none", "-z")
	if err != nil {
		return gitError(ctx, dir, err)
	}
	if changed != "" {
		var files []string
		for _, line := range strings.Split(strings.TrimRight(changed, "\x00"), "\x00") {
			if len(line) > 3 && line[2] == ' ' {
				line = line[3:]
			}
			files = append(files, line)
		}
		return refuse("tree-dirty", "commit what is meant to be published, and keep the steps before this one from changing tracked files (npm ci, not npm install)",
			"the working tree differs from commit %s: %s", head, some(files))
	}
	// Of files that the index says are not to be looked at, status says nothing (git-ls-files(1), -v).
	listed, err := git("ls-files", "-v", "-z")
	if err != nil {
		return gitError(ctx, dir, err)
	}
	var unseen []string
	for _, line := range strings.Split(listed, "\x00") {
		state, name, _ := strings.Cut(line, " ")
		if state == "" || state != "S" && state == strings.ToUpper(state) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			unseen = append(unseen, name)
		}
	}
	if len(unseen) > 0 {
		return refuse("tree-unseen", "git update-index --no-assume-unchanged --no-skip-worktree for each of them",
			"the index keeps git from telling whether files differ from commit %s (assume-unchanged, skip-worktree): %s", head, some(unseen))
	}
	return nil
}

// A leftover is a file that git does not track, as it was before the build.
type leftover struct {
	size     int64
	modified time.Time
}

// leftovers are the files of a directory that git does not track, by their slashed names, but for installed packages.
func leftovers(ctx context.Context, dir string, env []string) map[string]leftover {
	cmd := exec.CommandContext(ctx, "git", "-C", dir, "-c", "core.fsmonitor=false", "ls-files", "--others", "-z", "--exclude=node_modules/")
	cmd.Env = gitEnvironment(env)
	out, err := cmd.Output()
	if err != nil {
		return nil // only a warning hangs on it
	}
	found := map[string]leftover{}
	for _, name := range strings.Split(string(out), "\x00") {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			found[name] = leftover{info.Size(), info.ModTime()}
		}
	}
	return found
}

// packedLeftovers names the files of a tarball that were there before the build and that it did not write to.
func packedLeftovers(dir string, before map[string]leftover, p *Package) []string {
	var names []string
	if len(before) == 0 {
		return nil
	}
	err := p.each(func(name string, _ []byte) {
		was, ok := before[name]
		if info, err := os.Lstat(filepath.Join(dir, name)); ok && err == nil && info.Size() == was.size && info.ModTime().Equal(was.modified) {
			names = append(names, name)
		}
	})
	if err != nil {
		return nil // it was read before
	}
	return names
}

// unlike names the files of a tarball that git tracks and that are not as the commit has them. package.json is
// left out: npm and release tools write to it. Ends of lines are no difference.
func unlike(ctx context.Context, dir string, env []string, p *Package) ([]string, error) {
	cmd := exec.CommandContext(ctx, "git", "-C", dir, "ls-tree", "-r", "-z", "HEAD")
	cmd.Env = gitEnvironment(env)
	out, err := cmd.Output()
	if err != nil {
		return nil, gitError(ctx, dir, err)
	}
	blobs := map[string]string{}
	for _, line := range strings.Split(string(out), "\x00") {
		head, name, _ := strings.Cut(line, "\t")
		if f := strings.Fields(head); len(f) == 3 && f[1] == "blob" {
			blobs[name] = f[2]
		}
	}
	var names []string
	err = p.each(func(name string, content []byte) {
		want, tracked := blobs[name]
		if !tracked || name == "package.json" {
			return
		}
		if blobID(content, len(want)) != want && blobID(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")), len(want)) != want {
			names = append(names, name)
		}
	})
	return names, err
}

// blobID is git's name for a file's content, of 40 or 64 hexadecimal digits (gitformat-pack(5), object names).
func blobID(content []byte, digits int) string {
	h := sha1.New()
	if digits == 2*sha256.Size {
		h = sha256.New()
	}
	fmt.Fprintf(h, "blob %d\x00", len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

// maxUnpacked bounds what is unpacked of a tarball, in bytes.
const maxUnpacked = 4 << 30

// each gives the names of a tarball's files, without the first part of their paths, and what is in them.
func (p *Package) each(f func(name string, content []byte)) error {
	z, err := gzip.NewReader(bytes.NewReader(p.Bytes))
	if err != nil {
		return fmt.Errorf("reading the tarball: %w", err)
	}
	r := tar.NewReader(io.LimitReader(z, maxUnpacked))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the tarball: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(io.LimitReader(r, maxPackage+1))
		if err != nil {
			return fmt.Errorf("reading the tarball: %w", err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		f(name, content)
	}
}

// gitEnvironment leaves out what could show git another repository, index or work tree than the one that lies there,
// or other objects in place of a commit's (git(1), "Environment Variables"). Where its configuration is stays, since
// safe.directory may stand there.
func gitEnvironment(env []string) []string {
	var out []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		name = strings.ToUpper(name)
		if strings.HasPrefix(name, "GIT_") && !strings.HasPrefix(name, "GIT_CONFIG") {
			continue
		}
		out = append(out, e)
	}
	return append(out, "GIT_NO_REPLACE_OBJECTS=1")
}

// some quotes the first of a list of names, and says how many more there are.
func some(names []string) string {
	if len(names) <= 5 {
		return fmt.Sprintf("%q", names)
	}
	return fmt.Sprintf("%q and %d more", names[:5], len(names)-5)
}

func gitError(ctx context.Context, dir string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("looking at the working tree: %w", context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrNotFound) {
		return setup("git-missing", "install git in the job's image", "git is not installed, so nobody can tell whether %s is the commit that the provenance will name", dir)
	}
	text := err.Error()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		text = oneLine(string(exit.Stderr), 400)
	}
	hint := "check the repository out in the job, with its .git directory"
	if strings.Contains(text, "dubious ownership") {
		hint = "the checkout belongs to another user, as in a container; in a step before:\n  git config --global --add safe.directory \"$PWD\""
	}
	return setup("git", hint, "git cannot tell which commit %s is: %s", dir, text)
}
