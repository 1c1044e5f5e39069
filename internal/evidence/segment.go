package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// A segment is one file of the cache: records back to back, a sorted table of them, and a trailer.
//
//	record…  table  trailer
//	slot    = kind(1) key(32) offset(8) length(4) CRC-32C of the record(4)
//	trailer = offset of the table(8) slots(4) CRC-32C of the table(4) magic(16)
//
// Numbers are big-endian. A segment is written once, under another name, and renamed when it is whole; it
// never changes afterwards. So there is nothing to lock between processes, and a torn one is told by its
// trailer. Few large files also make a warm start cheap: two reads for each segment, then one for each record.
const (
	slotSize     = 1 + 32 + 8 + 4 + 4
	trailerSize  = 8 + 4 + 4 + 16
	segmentMagic = "assay segment 1\n"

	maxSlots  = 1 << 18  // of one segment; more is not read: 13 MB of table
	maxRecord = 64 << 20 // bytes
)

// A kind says what a record is.
type kind byte

const (
	kindBlob  kind = 'b' // key: SHA-256 of the record
	kindEntry kind = 'e' // key: digest of what the entry is about; several may be kept, see [mergeEntries]
	kindRow   kind = 'r' // key: digest of all inputs of a verdict; what they gave is a blob
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is returned for a segment or a record that is not what was written.
var errDamaged = errors.New("damaged")

// A slot is where one record lies.
type slot struct {
	kind   kind
	key    sum
	offset int64
	length uint32
	crc    uint32
}

func (s slot) append(b []byte) []byte {
	b = append(b, byte(s.kind))
	b = append(b, s.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.offset))
	b = binary.BigEndian.AppendUint32(b, s.length)
	return binary.BigEndian.AppendUint32(b, s.crc)
}

func parseSlot(b []byte) slot {
	return slot{
		kind:   kind(b[0]),
		key:    sum(b[1:33]),
		offset: int64(binary.BigEndian.Uint64(b[33:])),
		length: binary.BigEndian.Uint32(b[41:]),
		crc:    binary.BigEndian.Uint32(b[45:]),
	}
}

// compareSlots orders by kind and key; that is the order of a table.
func compareSlots(a, b slot) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	return bytes.Compare(a.key[:], b.key[:])
}

// A segment is an open, complete segment file. It is safe for concurrent use.
type segment struct {
	name     string // base name
	file     *os.File
	modified time.Time
	records  int64  // bytes of them
	table    []byte // slots; sorted, unless somebody made it to be searched in vain
	used     atomic.Bool
}

// openSegment opens and checks a segment file. The records are checked when they are read.
func openSegment(path string) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := newSegment(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cache segment %s: %w", path, err)
	}
	return s, nil
}

func newSegment(f *os.File) (*segment, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() < trailerSize {
		return nil, errDamaged
	}
	var trailer [trailerSize]byte
	if _, err := f.ReadAt(trailer[:], info.Size()-trailerSize); err != nil {
		return nil, err
	}
	start := int64(binary.BigEndian.Uint64(trailer[:]))
	count := int64(binary.BigEndian.Uint32(trailer[8:]))
	if string(trailer[16:]) != segmentMagic || count > maxSlots || start < 0 ||
		start != info.Size()-trailerSize-count*slotSize {
		return nil, errDamaged
	}
	table := make([]byte, count*slotSize)
	if _, err := f.ReadAt(table, start); err != nil && count > 0 {
		return nil, err
	}
	if crc32.Checksum(table, castagnoli) != binary.BigEndian.Uint32(trailer[12:]) {
		return nil, errDamaged
	}
	return &segment{name: info.Name(), file: f, modified: info.ModTime(), records: start, table: table}, nil
}

func (s *segment) len() int        { return len(s.table) / slotSize }
func (s *segment) slot(i int) slot { return parseSlot(s.table[i*slotSize:]) }

// find calls yield with each place of one key, in no particular order, until it returns false. It reports
// whether there may be more.
func (s *segment) find(k kind, key sum, yield func(place) bool) bool {
	var want [33]byte
	want[0] = byte(k)
	copy(want[1:], key[:])
	low, high := 0, s.len()
	for low < high {
		mid := int(uint(low+high) >> 1)
		if bytes.Compare(s.table[mid*slotSize:mid*slotSize+33], want[:]) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	for ; low < s.len() && bytes.Equal(s.table[low*slotSize:low*slotSize+33], want[:]); low++ {
		if !yield(place{segment: s, file: s.file, slot: s.slot(low)}) {
			return false
		}
	}
	return true
}

// A place is one record in one file.
type place struct {
	segment *segment // nil while it is still being written
	file    *os.File
	slot    slot
}

// read returns the record, or errDamaged.
func (p place) read() ([]byte, error) {
	if n := int64(p.slot.length); n > maxRecord ||
		p.segment != nil && (p.slot.offset < 0 || p.slot.offset > p.segment.records-n) {
		return nil, errDamaged
	}
	b := make([]byte, p.slot.length)
	if _, err := p.file.ReadAt(b, p.slot.offset); err != nil && len(b) > 0 {
		return nil, err
	}
	if crc32.Checksum(b, castagnoli) != p.slot.crc {
		return nil, errDamaged
	}
	if p.segment != nil && !p.segment.used.Load() {
		p.segment.used.Store(true)
	}
	return b, nil
}

// A draft is a segment that is being written. It is not safe for concurrent use.
type draft struct {
	path   string
	file   *os.File
	offset int64
	slots  []slot
	index  map[draftKey][]int
}

type draftKey struct {
	kind kind
	key  sum
}

func newDraft(path string) (*draft, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &draft{path: path, file: f, index: make(map[draftKey][]int)}, nil
}

// full reports whether the draft should be sealed before another record.
func (d *draft) full(max int64) bool { return d.offset >= max || len(d.slots) >= maxSlots }

func (d *draft) add(k kind, key sum, record []byte) error {
	if len(record) > maxRecord {
		return fmt.Errorf("cache record of %d bytes is too large", len(record))
	}
	if _, err := d.file.WriteAt(record, d.offset); err != nil {
		return err
	}
	at := draftKey{k, key}
	d.index[at] = append(d.index[at], len(d.slots))
	d.slots = append(d.slots, slot{k, key, d.offset, uint32(len(record)), crc32.Checksum(record, castagnoli)})
	d.offset += int64(len(record))
	return nil
}

// find calls yield with each place of one key, newest first, until it returns false. It reports whether
// there may be more.
func (d *draft) find(k kind, key sum, yield func(place) bool) bool {
	for _, i := range slices.Backward(d.index[draftKey{k, key}]) {
		if !yield(place{file: d.file, slot: d.slots[i]}) {
			return false
		}
	}
	return true
}

// seal completes the file and gives it its name. The draft is closed, whatever comes of it.
func (d *draft) seal(path string) error {
	slices.SortStableFunc(d.slots, compareSlots)
	end := make([]byte, 0, len(d.slots)*slotSize+trailerSize)
	for _, s := range d.slots {
		end = s.append(end)
	}
	crc := crc32.Checksum(end, castagnoli)
	end = binary.BigEndian.AppendUint64(end, uint64(d.offset))
	end = binary.BigEndian.AppendUint32(end, uint32(len(d.slots)))
	end = binary.BigEndian.AppendUint32(end, crc)
	end = append(end, segmentMagic...)
	_, err := d.file.WriteAt(end, d.offset)
	if cerr := d.file.Close(); err == nil { // Windows renames no open file
		err = cerr
	}
	if err == nil {
		err = os.Rename(d.path, path)
	}
	if err != nil {
		os.Remove(d.path)
	}
	return err
}

// drop throws the draft away.
func (d *draft) drop() {
	d.file.Close()
	os.Remove(d.path)
}
