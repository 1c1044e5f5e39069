package evidence

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tidy bounds the segments in size and number: those not used for longest are removed, and small ones merged. Other processes may do the same at the same time: then something is kept twice for
// a while, or one more segment goes than had to. No segment of this store is open meanwhile.
func (s *Store) tidy() {
	type file struct {
		name     string
		size     int64
		modified time.Time
	}
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	var files []file
	for _, e := range list {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		switch {
		case strings.HasPrefix(e.Name(), segmentPrefix):
			files = append(files, file{e.Name(), info.Size(), info.ModTime()})
		case strings.HasPrefix(e.Name(), draftPrefix) && s.now().Sub(info.ModTime()) > draftLifetime:
			os.Remove(filepath.Join(s.dir, e.Name())) // left by a process that was killed
		}
	}

	slices.SortFunc(files, func(a, b file) int { return a.modified.Compare(b.modified) })
	total := int64(0)
	for _, f := range files {
		total += f.size
	}
	for len(files) > maxSegments || len(files) > 0 && total > s.maxBytes {
		// One that another process holds open cannot be removed on Windows; it goes another time.
		if err := os.Remove(filepath.Join(s.dir, files[0].name)); err == nil || os.IsNotExist(err) {
			total -= files[0].size
		}
		files = files[1:]
	}

	small := slices.DeleteFunc(files, func(f file) bool { return f.size > smallSegment })
	if len(small) <= manySegments {
		return
	}
	slices.SortFunc(small, func(a, b file) int { return cmp.Compare(a.size, b.size) })
	var names []string
	room := min(mergedSegment, s.draftBytes())
	for _, f := range small {
		if room -= f.size; room < 0 {
			break
		}
		names = append(names, f.name)
	}
	if len(names) > 1 {
		s.merge(names)
	}
}

// merge writes one segment with all that is worth keeping of several, then removes those.
func (s *Store) merge(names []string) {
	var old []*segment
	defer func() {
		for _, g := range old {
			g.file.Close()
		}
	}()
	for _, name := range names {
		g, err := openSegment(filepath.Join(s.dir, name))
		if err == nil {
			old = append(old, g)
		} else if !os.IsNotExist(err) {
			// A damaged one: nothing of it can be read, now or later.
			os.Remove(filepath.Join(s.dir, name))
		}
	}
	if len(old) < 2 {
		return
	}
	var places []place
	newest := time.Time{}
	for _, g := range old {
		for i := range g.len() {
			places = append(places, place{segment: g, file: g.file, slot: g.slot(i)})
		}
		if g.modified.After(newest) {
			newest = g.modified
		}
	}
	slices.SortStableFunc(places, func(a, b place) int { return compareSlots(a.slot, b.slot) })

	d, err := newDraft(filepath.Join(s.dir, s.newName(draftPrefix)))
	if err != nil {
		s.fail(err)
		return
	}
	for len(places) > 0 {
		n := 1
		for n < len(places) && compareSlots(places[0].slot, places[n].slot) == 0 {
			n++
		}
		at := places[0].slot
		for _, record := range s.distil(at.kind, at.key, places[:n]) {
			if d.full(1 << 62) {
				break // cannot hold more slots; what is left out is fetched again
			}
			if err := d.add(at.kind, at.key, record); err != nil {
				s.fail(err)
				d.drop()
				return
			}
		}
		places = places[n:]
	}
	path := filepath.Join(s.dir, s.newName(segmentPrefix))
	if err := d.seal(path); err != nil {
		s.fail(err)
		return
	}
	_ = os.Chtimes(path, newest, newest) // merging is no use
	for _, g := range old {
		g.file.Close() // Windows removes no open file
		os.Remove(filepath.Join(s.dir, g.name))
	}
}

// distil returns the records worth keeping of those under one key.
func (s *Store) distil(k kind, key sum, places []place) [][]byte {
	var records [][]byte
	var row []byte // our own
	var newest time.Time
	for _, p := range places {
		b, err := p.read()
		if err != nil {
			continue
		}
		switch k {
		case kindBlob:
			return [][]byte{b} // whether it hashes to its key is seen when it is used
		case kindRow:
			if r, ok := s.parseRow(key, b); ok && (row == nil || r.at.After(newest)) {
				row, newest = b, r.at
			}
		}
		if !slices.ContainsFunc(records, func(o []byte) bool { return string(o) == string(b) }) {
			records = append(records, b)
		}
	}
	switch {
	case k == kindEntry:
		return s.distilEntries(key, records)
	case row != nil:
		return [][]byte{row}
	}
	// Rows under another key: some other machine's, which may come back for them.
	return records[:min(len(records), 2)]
}

// distilEntries folds what is kept about one subject into this machine's own entry, if there is one.
// Without one nobody may speak for the others, and the newest few are kept as they are.
func (s *Store) distilEntries(key sum, records [][]byte) [][]byte {
	type read struct {
		candidate
		record []byte
	}
	var all []read
	for _, b := range records {
		if c, ok := s.parseEntry(key, b); ok && c.key() == key && s.believable(c.at) {
			all = append(all, read{c, b})
		}
	}
	if len(all) == 0 {
		return nil
	}
	candidates := make([]candidate, len(all))
	for i, r := range all {
		candidates[i] = r.candidate
	}
	if lead, authenticated := mergeEntries(candidates, func(sum) bool { return true }); authenticated {
		return [][]byte{s.entryRecord(key, lead)}
	}
	slices.SortStableFunc(all, func(a, b read) int { return b.at.Compare(a.at) })
	var kept [][]byte
	for _, r := range all[:min(len(all), maxEarlier)] {
		kept = append(kept, r.record)
	}
	return kept
}
