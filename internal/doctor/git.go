package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"assay/internal/npm"
)

// Remotes returns the repositories that git's remotes "origin" and "upstream" name, for a work tree's
// directory; zero where there is no such remote or it is no web repository. It reads .git/config, also through
// the .git file of a worktree or submodule, and runs no git.
func Remotes(dir string) (origin, upstream npm.Repository, err error) {
	config, err := gitConfig(dir)
	if err != nil {
		return npm.Repository{}, npm.Repository{}, err
	}
	f, err := os.Open(config)
	if err != nil {
		return npm.Repository{}, npm.Repository{}, fmt.Errorf("reading git's configuration: %w", err)
	}
	defer f.Close()
	urls := remoteURLs(io.LimitReader(f, maxFile))
	for name, to := range map[string]*npm.Repository{"origin": &origin, "upstream": &upstream} {
		if u := urls[name]; u != "" {
			if r, err := npm.ParseRepository(u, ""); err == nil {
				*to = r
			}
		}
	}
	return origin, upstream, nil
}

// gitConfig finds the configuration of the repository whose work tree is dir.
func gitConfig(dir string) (string, error) {
	git := filepath.Join(dir, ".git")
	info, err := os.Stat(git)
	if err != nil {
		return "", fmt.Errorf("looking for git's repository: %w", err)
	}
	if !info.IsDir() {
		to, err := pointer(git, "gitdir:")
		if err != nil {
			return "", err
		}
		if git = to; !filepath.IsAbs(git) {
			git = filepath.Join(dir, git)
		}
		if common, err := pointer(filepath.Join(git, "commondir"), ""); err == nil {
			if git = filepath.Join(git, common); filepath.IsAbs(common) {
				git = common
			}
		}
	}
	return filepath.Join(git, "config"), nil
}

// pointer reads a file of one line that names a directory.
func pointer(name, prefix string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("reading git's %s: %w", filepath.Base(name), err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 8192))
	if err != nil {
		return "", fmt.Errorf("reading git's %s: %w", filepath.Base(name), err)
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(string(data)), prefix)
	if rest = strings.TrimSpace(rest); !ok || rest == "" || strings.ContainsAny(rest, "\n\x00") {
		return "", errors.New("reading git's " + filepath.Base(name) + ": does not name a directory")
	}
	return rest, nil
}

// remoteURLs reads the first url of each remote.
// Source: git-config(1), syntax.
func remoteURLs(r io.Reader) map[string]string {
	urls := map[string]string{}
	remote := ""
	s := bufio.NewScanner(r)
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "[") {
			remote = ""
			if rest, ok := strings.CutPrefix(line, `[remote "`); ok {
				remote, _, _ = strings.Cut(rest, `"`)
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if remote != "" && ok && strings.EqualFold(strings.TrimSpace(key), "url") && urls[remote] == "" {
			urls[remote] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return urls
}
