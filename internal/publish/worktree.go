package publish

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// CheckWorktree refuses a working tree that is not what the provenance will say: another commit than the job's, or
// tracked files that were changed. Files that git does not track are no concern of it, such as what a build makes.
// env is the environment for git.
func CheckWorktree(ctx context.Context, dir string, ci *CI, env []string) error {
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = env
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
	changed, err := git("status", "--porcelain", "--untracked-files=no", "-z")
	if err != nil {
		return gitError(ctx, dir, err)
	}
	if changed == "" {
		return nil
	}
	var files []string
	for _, line := range strings.Split(strings.TrimRight(changed, "\x00"), "\x00") {
		if len(line) > 3 && line[2] == ' ' {
			line = line[3:]
		}
		files = append(files, line)
	}
	more := ""
	if len(files) > 5 {
		more = fmt.Sprintf(" and %d more", len(files)-5)
		files = files[:5]
	}
	return refuse("tree-dirty", "commit what is meant to be published, and keep the steps before this one from changing tracked files (npm ci, not npm install)",
		"the working tree differs from commit %s: %q%s", head, files, more)
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
