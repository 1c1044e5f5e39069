package evidence

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// An archive is a tar file compressed by gzip, since every system can unpack that today and will in ten years. Of
// both formats only one spelling is written, and nothing else is read: regular files with fixed attributes (POSIX
// ustar), in the order that the index gives, in a single gzip member whose header is fixed.
const (
	indexName   = "assay-evidence.json"
	pieceDir    = "pieces/"
	contentName = "assay-evidence.sha256"

	tarBlock = 512
)

// gzipHeader is what compress/gzip writes at its best compression: no name, no time.
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255}

// tarHeader is the header of a regular file. Source: POSIX.1-2017 pax, ustar Interchange Format.
func tarHeader(name string, size int64) [tarBlock]byte {
	var h [tarBlock]byte
	copy(h[:100], name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00") // a time of its own an entry does not have
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	sum := 8 * int(' ')
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// padding is how many zero bytes follow size bytes.
func padding(size int64) int64 { return -size & (tarBlock - 1) }

var blank [2 * tarBlock]byte

// Write writes the archive. The same archive gives the same bytes.
func (a *Archive) Write(w io.Writer) error {
	index, err := a.index.encode()
	if err != nil {
		return err
	}
	if len(index) > maxIndex {
		return &LimitError{"the index of the evidence archive", maxIndex}
	}
	out := &counter{w: w}
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	content := sha256.New()
	in := &counter{w: io.MultiWriter(z, content)}
	t := &tarWriter{w: in}
	t.file(indexName, index)
	done := map[pieceRef]bool{}
	a.index.walk(func(what string, p *pieceRef) {
		if done[*p] || t.err != nil {
			return
		}
		done[*p] = true
		b, err := a.pieces.get(*p)
		if err != nil {
			t.err = &ArchiveError{what, err}
			return
		}
		t.file(pieceDir+p.SHA256, b)
	})
	sum := hex.EncodeToString(content.Sum(nil)) + "\n"
	t.file(contentName, []byte(sum))
	t.write(blank[:])
	if t.err == nil {
		t.err = z.Close()
	}
	if t.err == nil && (in.n > maxArchive || in.n > archiveGrace+maxArchiveRatio*out.n) {
		t.err = errors.New("it would unpack to more than is read of any: a registry serves what is large and empty")
	}
	if t.err != nil {
		return fmt.Errorf("writing the evidence archive: %w", t.err)
	}
	return nil
}

// A counter counts what is written through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

type tarWriter struct {
	w   io.Writer
	err error
}

func (t *tarWriter) write(b []byte) {
	if t.err == nil {
		_, t.err = t.w.Write(b)
	}
}

func (t *tarWriter) file(name string, b []byte) {
	h := tarHeader(name, int64(len(b)))
	t.write(h[:])
	t.write(b)
	t.write(blank[:padding(int64(len(b)))])
}

// ReadArchive reads an archive and verifies that it is whole: every piece that its index names is there with the
// bytes that it names, and nothing besides. It believes nothing of what those say.
//
// The error is [ErrNotArchive] for another file, an [*ArchiveVersionError] for a form that is not known, and an
// [*ArchiveError], which names the piece, for damage. The archive is to be closed.
func ReadArchive(r io.Reader) (*Archive, error) {
	in := &archiveMeter{r: r, hash: sha512.New()}
	buffered := bufio.NewReaderSize(in, 64<<10)
	var header [len(gzipHeader)]byte
	if head, err := buffered.Peek(len(header)); err != nil && len(head) == 0 || len(head) < 3 || !bytes.Equal(head[:3], gzipHeader[:3]) {
		if in.err != nil {
			return nil, fmt.Errorf("reading the evidence archive: %w", in.err)
		}
		return nil, ErrNotArchive
	} else {
		copy(header[:], head)
	}
	z, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, damaged(in, "its beginning", err)
	}
	z.Multistream(false)
	u := &unpacker{z: z, in: in, content: sha256.New(), ours: header == gzipHeader}
	a := &Archive{pieces: newPieces()}
	if err := a.read(u); err != nil {
		a.Close()
		return nil, err
	}
	err = u.end()
	if err == nil && header != gzipHeader {
		err = &ArchiveError{"its beginning", errors.New("the gzip header is not as an archive's is")}
	}
	if err == nil {
		if _, more := buffered.Peek(1); more != io.EOF {
			err = &ArchiveError{"its end", errors.New("something follows")}
			if in.err != nil {
				err = fmt.Errorf("reading the evidence archive: %w", in.err)
			}
		}
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	a.file.size, a.file.sha512 = in.n, in.hash.Sum(nil)
	a.link()
	return a, nil
}

// damaged says what is damaged, unless the file itself could not be read.
func damaged(in *archiveMeter, what string, err error) error {
	if in.err != nil {
		return fmt.Errorf("reading the evidence archive: %w", in.err)
	}
	var limit *LimitError
	if errors.As(err, &limit) {
		return fmt.Errorf("reading the evidence archive: %w", err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends before it does")
	}
	return &ArchiveError{what, err}
}

func (a *Archive) read(u *unpacker) error {
	var h [tarBlock]byte
	if err := u.full(h[:]); err != nil {
		// With not even a first entry nothing says that this was to be an archive of ours.
		if in := u.in.err; in != nil {
			return fmt.Errorf("reading the evidence archive: %w", in)
		}
		return &ArchiveError{"its index", errors.New("the file ends before it does, or is not compressed as it says")}
	}
	size, ok := sizeOf(h, indexName)
	switch {
	case !ok && !bytes.HasPrefix(h[:], []byte(indexName+"\x00")):
		return u.otherwise(ErrNotArchive)
	case !ok:
		return &ArchiveError{"its index", errors.New("the entry is not as it is written")}
	case size > maxIndex:
		return fmt.Errorf("reading the evidence archive: %w", &LimitError{"the index", maxIndex})
	}
	index, err := u.body(size)
	if err != nil {
		return damaged(u.in, "its index", err)
	}
	x, err := decodeIndex(index)
	var version *ArchiveVersionError
	switch {
	case errors.As(err, &version):
		return u.otherwise(err)
	case err != nil:
		return &ArchiveError{"its index", err}
	}
	a.index = *x

	var first error
	n := 0
	a.index.walk(func(what string, p *pieceRef) {
		if first != nil || a.pieces.has(*p) {
			return
		}
		if n++; n > maxPieces {
			first = fmt.Errorf("reading the evidence archive: more than %d pieces", maxPieces)
			return
		}
		first = a.readPiece(u, what, p)
	})
	if first != nil {
		return first
	}
	return a.readContent(u)
}

func (a *Archive) readPiece(u *unpacker, what string, p *pieceRef) error {
	var h [tarBlock]byte
	if err := u.full(h[:]); err != nil {
		return damaged(u.in, what, err)
	}
	if h != tarHeader(pieceDir+p.SHA256, p.Size) {
		if bytes.HasPrefix(h[:], []byte(pieceDir+p.SHA256+"\x00")) {
			return &ArchiveError{what, errors.New("the entry is not as it is written")}
		}
		return &ArchiveError{what, errors.New("it is missing")}
	}
	holds, err := a.pieces.copyFrom(u, *p)
	if err != nil {
		return damaged(u.in, what, err)
	}
	if !holds {
		return &ArchiveError{what, errors.New("its bytes do not hash to what the index says")}
	}
	if err := u.pad(p.Size); err != nil {
		return damaged(u.in, what, err)
	}
	return nil
}

// readContent reads the last entry: the digest of everything before it.
func (a *Archive) readContent(u *unpacker) error {
	a.file.content = u.content.Sum(nil)
	want := hex.EncodeToString(a.file.content) + "\n"
	var h [tarBlock]byte
	if err := u.full(h[:]); err != nil {
		return damaged(u.in, "its end", err)
	}
	if h != tarHeader(contentName, int64(len(want))) {
		if strings.HasPrefix(string(h[:]), pieceDir) {
			return &ArchiveError{"an entry that the index does not name", errors.New("it does not belong there")}
		}
		return &ArchiveError{"its end", errors.New("the digest of its content is missing")}
	}
	got, err := u.body(int64(len(want)))
	if err != nil {
		return damaged(u.in, "its end", err)
	}
	if string(got) != want {
		return &ArchiveError{"its index", errors.New("its content does not hash to what stands at its end")}
	}
	var end [2 * tarBlock]byte
	if err := u.full(end[:]); err != nil || end != blank {
		return damaged(u.in, "its end", cmpError(err, "it is not as it is written"))
	}
	return nil
}

func cmpError(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}

// sizeOf returns the size in a header, which has to be as tarHeader makes it.
func sizeOf(h [tarBlock]byte, name string) (int64, bool) {
	var size int64
	if _, err := fmt.Sscanf(string(h[124:135]), "%o", &size); err != nil || size < 0 || size > maxArchive {
		return 0, false
	}
	return size, h == tarHeader(name, size)
}

// An archiveMeter hashes and counts the file as it is read, and remembers its error.
type archiveMeter struct {
	r    io.Reader
	n    int64
	hash hash.Hash
	err  error
}

func (m *archiveMeter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.hash.Write(p[:n])
	if m.n > maxArchive {
		n, err = 0, &LimitError{"the evidence archive", maxArchive}
	}
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// An unpacker reads the tar file, as far as the compressed file is worth it.
type unpacker struct {
	z       *gzip.Reader
	in      *archiveMeter
	n       int64
	content hash.Hash
	ours    bool // the gzip header is an archive's
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.n > archiveGrace+maxArchiveRatio*u.in.n || u.n > maxArchive {
		return 0, &LimitError{"what the evidence archive unpacks to", u.n}
	}
	n, err := u.z.Read(p)
	u.n += int64(n)
	u.content.Write(p[:n])
	return n, err
}

func (u *unpacker) full(b []byte) error {
	_, err := io.ReadFull(u, b)
	return err
}

// body reads the bytes of an entry and what pads them. Memory grows with what is there, not with what is announced.
func (u *unpacker) body(size int64) ([]byte, error) {
	var b bytes.Buffer
	if n, err := io.Copy(&b, io.LimitReader(u, size)); err != nil {
		return nil, err
	} else if n < size {
		return nil, io.ErrUnexpectedEOF
	}
	return b.Bytes(), u.pad(size)
}

func (u *unpacker) pad(size int64) error {
	var b [tarBlock]byte
	n := padding(size)
	if err := u.full(b[:n]); err != nil {
		return err
	}
	if !bytes.Equal(b[:n], blank[:n]) {
		return errors.New("what follows it is not empty")
	}
	return nil
}

// otherwise tells another file from a damaged one where the beginning is not an archive's: another file that is
// compressed in the same way is whole, and err is its.
func (u *unpacker) otherwise(err error) error {
	if _, broken := io.Copy(io.Discard, io.LimitReader(u, archiveGrace)); broken != nil && u.ours {
		return damaged(u.in, "its index", broken)
	}
	return err
}

// end makes sure that the compressed stream ends here, with the right checksum.
func (u *unpacker) end() error {
	var b [1]byte
	switch n, err := u.Read(b[:]); {
	case n > 0:
		return &ArchiveError{"its end", errors.New("something follows")}
	case err != io.EOF:
		return damaged(u.in, "its end", err)
	}
	return nil
}

// IsArchive reports whether a file begins as an evidence archive does.
func IsArchive(r io.Reader) bool {
	z, err := gzip.NewReader(r)
	if err != nil {
		return false
	}
	var name [len(indexName) + 1]byte
	_, err = io.ReadFull(z, name[:])
	return err == nil && string(name[:]) == indexName+"\x00"
}
