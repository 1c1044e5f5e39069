package inventory

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// pnpmStore is where pnpm keeps packages inside node_modules, unless told otherwise, each in a directory of its own
// with links beside it to what it needs. lock.yaml there lists what pnpm installed last.
const (
	pnpmStore       = nodeModules + "/.pnpm"
	pnpmHidden      = "lock.yaml"
	pnpmModulesFile = nodeModules + "/.modules.yaml"
)

// readPnpmModules adds what pnpm put into a node_modules: everything in its stores, and the other projects of a workspace
// with their node_modules. It returns the lockfile of what pnpm installed last, nil if there is none.
func (w *walker) readPnpmModules() (*tree, error) {
	stores := w.pnpmStores()
	var lock *tree
	for _, store := range stores {
		file := store + "/" + pnpmHidden
		data, err := w.s.readFile(file, maxFile)
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); ok {
				return nil, err
			}
			continue
		}
		w.s.files = append(w.s.files, file)
		r, err := newPnpmReader(file, string(data))
		if err != nil {
			return nil, err
		}
		if err := r.readDocuments(); err != nil {
			return nil, err
		}
		r.project = &pnpmProject{manifests: map[string]*manifest{}}
		if err := r.link(); err != nil {
			return nil, err
		}
		lock = r.finish()
		lock.setFlags()
		break
	}
	if lock != nil {
		if err := w.pnpmImporters(lock); err != nil {
			return nil, err
		}
	}
	for _, store := range stores {
		entries, err := w.list(store)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && e.Name() != nodeModules {
				if err := w.modules(store+"/"+e.Name(), 1); err != nil {
					return nil, err
				}
			}
		}
		if err := w.modules(store, 1); err != nil {
			return nil, err
		}
	}
	w.storesOutside()
	return lock, nil
}

// pnpmImporters adds the other projects of a workspace, with what lies in their node_modules.
func (w *walker) pnpmImporters(lock *tree) error {
	at := make(map[string]int)
	for i := range w.nodes {
		at[w.nodes[i].path] = i
	}
	for i := 1; i < len(lock.nodes); i++ {
		n := &lock.nodes[i]
		if !n.has(isWorkspace) || n.nameAt == noPlace || !fs.ValidPath(n.path) {
			continue
		}
		if i, ok := at[n.path]; ok {
			w.nodes[i].flags |= isWorkspace
			continue
		}
		if fi, err := fs.Lstat(w.s.fsys, n.path); err != nil || !fi.IsDir() || w.seen[n.path] {
			continue
		}
		w.seen[n.path] = true
		d, err := newNode(n.path, "", 1)
		if err != nil {
			return err
		}
		at[n.path] = len(w.nodes)
		d.flags |= onDisk | isWorkspace
		if err := w.directory(d, 0); err != nil {
			return err
		}
		for i := at[n.path]; i < len(w.nodes); i++ {
			at[w.nodes[i].path] = i
		}
	}
	return nil
}

// pnpmStores returns the directories inside the project that pnpm keeps packages in: the usual one, and those that links lead into.
func (w *walker) pnpmStores() []string {
	stores := []string{pnpmStore}
	for i := range w.nodes {
		n := &w.nodes[i]
		if !n.has(isLink) {
			continue
		}
		at := strings.LastIndex(n.resolved, "/"+nodeModules+"/")
		if at <= 0 {
			continue
		}
		if store := path.Dir(n.resolved[:at]); fs.ValidPath(store) && !slices.Contains(stores, store) && len(stores) < 16 {
			if fi, err := fs.Lstat(w.s.fsys, store+"/"+pnpmHidden); err == nil && fi.Mode().IsRegular() {
				stores = append(stores, store)
			}
		}
	}
	return slices.DeleteFunc(stores, func(store string) bool {
		fi, err := fs.Lstat(w.s.fsys, store)
		return err != nil || !fi.IsDir()
	})
}

// storesOutside says that packages were not looked at since they are kept outside the project, as with pnpm's settings
// virtualStoreDir and enableGlobalVirtualStore.
func (w *walker) storesOutside() {
	count, example := 0, ""
	for i := range w.nodes {
		if n := &w.nodes[i]; n.has(isLink) && (path.IsAbs(n.resolved) || !fs.ValidPath(cmp.Or(n.resolved, "."))) && strings.Contains(n.resolved, "/"+nodeModules+"/") {
			if count++; example == "" {
				example = n.path
			}
		}
	}
	if w.outside = count > 0; w.outside {
		w.t.warnings = append(w.t.warnings, Warning{Code: "store-outside", Path: example, Doubtful: true,
			Message: fmt.Sprintf("%d links, such as %s, lead to a store of packages outside the project, which is not read: name the lockfile instead", count, quoteShort(example))})
	}
}

// usePnpmLock gives what was found on disk the integrity that pnpm's own note of what it installed has for it. Nothing else is
// taken from there.
func (t *tree) usePnpmLock(lock *tree, w *walker) {
	byDir := make(map[string][]int32)
	byID := make(map[string]int32) // of what comes from a registry by name and version, else by name
	const differs = -1
	note := func(id string, i int) {
		if j, ok := byID[id]; ok && (j == differs || !lock.nodes[j].same(&lock.nodes[i])) {
			byID[id] = differs
		} else {
			byID[id] = int32(i)
		}
	}
	for i := range lock.nodes {
		n := &lock.nodes[i]
		if n.nameAt != noPlace || !n.has(isInstalled) {
			continue
		}
		for _, dir := range pnpmDirNames(n.path, lock.version) {
			byDir[dir] = append(byDir[dir], int32(i))
		}
		if n.has(isFrom) {
			note(n.realName, i)
		} else {
			note(n.realName+"@"+n.version, i)
		}
	}
	found := make(map[string]bool)
	for i := range t.nodes {
		n := &t.nodes[i]
		if !n.has(onDisk) || !n.has(isInstalled) || n.has(isLink) {
			continue
		}
		j := int32(differs)
		entry := path.Base(n.dir())
		inStore := strings.HasPrefix(n.path, pnpmStore+"/") || byDir[entry] != nil
		for _, k := range byDir[entry] {
			if l := &lock.nodes[k]; l.realName == n.name() || l.has(isFrom) {
				j = k
				break
			}
		}
		if j >= 0 {
			l := &lock.nodes[j]
			if !l.has(isFrom) && (l.realName != n.packageName() || l.version != n.version) {
				t.warn(n, "disk-differs", false, "%s holds %s on disk, %s in %s", quoteShort(n.path), describeEntry(n), describeEntry(l), lock.file)
				continue
			}
			n.integrity, n.resolved = l.integrity, l.resolved
			found[n.packageName()+"@"+n.version] = true
			continue
		}
		k, ok := byID[n.packageName()+"@"+n.version]
		if !ok && !inStore {
			k, ok = byID[n.packageName()]
		}
		if ok && k != differs && (!inStore || n.name() == n.packageName()) {
			n.integrity, n.resolved = lock.nodes[k].integrity, lock.nodes[k].resolved
			found[n.packageName()+"@"+n.version] = true
			continue
		}
		if !n.has(isBundled) || t.bundles[n.dir()] == nil {
			t.warn(n, "not-in-hidden-lockfile", false, "%s lies on disk but is not in %s", quoteShort(n.path), lock.file)
		}
	}
	for i := range lock.nodes {
		n := &lock.nodes[i]
		if !w.outside && n.nameAt == noPlace && n.has(isInstalled) && !found[n.realName+"@"+n.version] && !n.has(isOptional|isExtraneous|isFrom) {
			w.t.warnings = append(w.t.warnings, Warning{Code: "not-on-disk", File: lock.file, Line: int(n.line),
				Message: fmt.Sprintf("%s is in %s but not on disk", quoteShort(n.path), lock.file)})
		}
	}
}

// addWorkspaces gives the root an edge to each other project of the workspace. Nodes are sorted.
func (t *tree) addWorkspaces() {
	root := &t.nodes[0]
	edges := slices.Clone(root.edges)
	for i := 1; i < len(t.nodes); i++ {
		if n := &t.nodes[i]; n.has(isWorkspace) {
			edges = append(edges, Edge{Name: n.packageName(), Spec: "workspace:" + n.path, Kind: Workspace, To: i})
		}
	}
	sortEdges(edges)
	root.edges = edges
}

// pnpmDirNames returns the names that versions of pnpm give the directory of a key in the store. Long names, and those that a
// file system without capital letters would mix up, end in a hash.
// Source: pnpm/pnpm, packages/dependency-path/src/index.ts, depPathToFilename, of versions 7 to 11.
func pnpmDirNames(key string, major int) []string {
	plain := strings.TrimPrefix(key, "/")
	if strings.HasPrefix(plain, "file:") {
		plain = strings.Replace(plain, ":", "+", 1)
	} else if major < 9 {
		// The key with its version behind an @.
		id, peers := cutPeers(plain)
		if at := strings.LastIndexByte(id, '/'); major == 5 && at > 0 {
			id = id[:at] + "@" + id[at+1:]
		}
		plain = id + peers
	}
	var names []string
	escape := func(special string) string {
		b := []byte(plain)
		for i, c := range b {
			if strings.IndexByte(special, c) >= 0 {
				b[i] = '+'
			}
		}
		return string(b)
	}
	older, newer := escape(`\/:*?"<>|`), escape(`\/:*?"<>|#`)
	for _, name := range []string{older, newer} {
		if strings.Contains(name, "(") {
			name = strings.NewReplacer(")(", "_", "(", "_", ")", "_").Replace(strings.TrimSuffix(name, ")"))
		}
		if name == strings.ToLower(name) && len(name) <= 120 {
			names = append(names, name)
		}
		sum := md5.Sum([]byte(name))
		old := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
		hash := sha256.Sum256([]byte(name))
		whole := sha256.Sum256([]byte(key))
		for _, limit := range []int{120, 60} {
			names = append(names,
				name[:min(len(name), limit-27)]+"_"+old,
				name[:min(len(name), limit-33)]+"_"+hex.EncodeToString(hash[:16]),
				name[:min(len(name), limit-33)]+"_"+hex.EncodeToString(whole[:16]))
		}
		names = append(names, name[:min(len(name), 50)]+"_"+old)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
