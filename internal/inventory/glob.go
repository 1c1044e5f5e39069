package inventory

import (
	"path"
	"strings"
)

// Limits on workspace patterns; npm has none, but each pattern is tried on each directory.
const (
	maxPatterns   = 1000
	maxExpansions = 100 // of {a,b} in one pattern
)

// A workspaceSet matches the directories that package.json's `workspaces` names.
type workspaceSet struct {
	literal map[string]bool
	globs   [][]string // split into segments, in order; a first segment "!" negates
}

// newWorkspaceSet compiles patterns such as "packages/*", "{apps,libs}/**" or "!packages/old".
// Source: npm/cli, workspaces map: node_modules/@npmcli/map-workspaces/lib/index.js; minimatch.
func newWorkspaceSet(patterns []string) *workspaceSet {
	w := &workspaceSet{literal: make(map[string]bool)}
	for i, p := range patterns {
		if i == maxPatterns {
			break
		}
		rest := strings.TrimLeft(p, "!")
		negate := (len(p)-len(rest))%2 == 1
		rest = strings.TrimLeft(strings.TrimPrefix(strings.ReplaceAll(rest, `\`, "/"), "."), "/")
		rest = strings.TrimRight(rest, "/")
		if rest == "" || len(rest) > 1024 {
			continue
		}
		for _, e := range expandBraces(rest) {
			if !negate && !strings.ContainsAny(e, "*?[") && len(w.globs) == 0 {
				w.literal[e] = true
				continue
			}
			segments := strings.Split(e, "/")
			if negate {
				segments = append([]string{"!"}, segments...)
			}
			w.globs = append(w.globs, segments)
		}
	}
	return w
}

// match reports whether a directory is a workspace. The last pattern that matches decides.
func (w *workspaceSet) match(dir string) bool {
	ok := w.literal[dir]
	if len(w.globs) == 0 {
		return ok
	}
	segments := strings.Split(dir, "/")
	for _, g := range w.globs {
		negate := g[0] == "!"
		if negate {
			g = g[1:]
		}
		if ok == negate && matchSegments(g, segments) {
			ok = !negate
		}
	}
	return ok
}

// matchSegments matches path segments against a pattern's, where "**" stands for any number of them.
// Like filepath matching with one star, it goes back only to the latest "**".
func matchSegments(pattern, name []string) bool {
	p, n := 0, 0
	back, backName := -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == "**" {
			back, backName = p, n
			p++
			continue
		}
		if p < len(pattern) && matchSegment(pattern[p], name[n]) {
			p++
			n++
			continue
		}
		if back < 0 || strings.HasPrefix(name[backName], ".") {
			return false
		}
		backName++
		p, n = back+1, backName
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

func matchSegment(pattern, name string) bool {
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern, ".") {
		return false
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// expandBraces expands {a,b} alternatives, nested ones too, up to a limit.
func expandBraces(p string) []string {
	done, todo := []string(nil), []string{p}
	for len(todo) > 0 && len(done)+len(todo) <= maxExpansions {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		open, end, commas := findBraces(p)
		if len(commas) == 0 {
			done = append(done, p)
			continue
		}
		from := open + 1
		for _, to := range append(commas, end) {
			todo = append(todo, p[:open]+p[from:to]+p[end+1:])
			from = to + 1
		}
	}
	return append(done, todo...)
}

// findBraces returns the first pair of braces with a comma between them, and its outermost commas.
func findBraces(p string) (open, end int, commas []int) {
	depth := 0
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '{':
			if depth == 0 {
				open, commas = i, nil
			}
			depth++
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			if depth == 1 && len(commas) > 0 {
				return open, i, commas
			}
			depth = max(0, depth-1)
		}
	}
	return 0, 0, nil
}
