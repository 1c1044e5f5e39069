package sigstore

import (
	"errors"
	"time"
)

// DER tags used here (X.690 section 8).
const (
	tagInteger         = 0x02
	tagOctetString     = 0x04
	tagOID             = 0x06
	tagUTF8String      = 0x0c
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
	tagSet             = 0x31
	tagContext         = 0xa0 // | n: constructed, context-specific
)

var errDER = errors.New("not DER of the expected form")

// A der is a run of DER values (X.690 section 10): lengths are definite and minimal, tags are one byte.
type der []byte

// next takes the first value off d, whatever its tag. whole is tag, length and content.
func (d *der) next() (tag byte, content, whole der, err error) {
	b := *d
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return 0, nil, nil, errDER
	}
	head, n := 2, int(b[1])
	if n >= 0x80 {
		size := n & 0x7f
		if size == 0 || size > 4 || len(b) < 2+size || b[2] == 0 {
			return 0, nil, nil, errDER
		}
		n = 0
		for _, c := range b[2 : 2+size] {
			n = n<<8 | int(c)
		}
		if head += size; n < 0x80 {
			return 0, nil, nil, errDER
		}
	}
	if n < 0 || n > len(b)-head {
		return 0, nil, nil, errDER
	}
	*d = b[head+n:]
	return b[0], b[head : head+n : head+n], b[: head+n : head+n], nil
}

// take takes the first value off d, which must have the given tag, and returns its content.
func (d *der) take(tag byte) (der, error) {
	rest := *d
	got, content, _, err := rest.next()
	if err != nil || got != tag {
		return nil, errDER
	}
	*d = rest
	return content, nil
}

// takeWhole is take with tag and length left on.
func (d *der) takeWhole(tag byte) (der, error) {
	rest := *d
	got, _, whole, err := rest.next()
	if err != nil || got != tag {
		return nil, errDER
	}
	*d = rest
	return whole, nil
}

// has reports whether the next value has the given tag.
func (d der) has(tag byte) bool { return len(d) > 0 && d[0] == tag }

// only reads d as exactly one value of the given tag, with nothing after it.
func (d der) only(tag byte) (der, error) {
	content, err := d.take(tag)
	if err == nil && len(d) > 0 {
		err = errDER
	}
	return content, err
}

// appendHeader appends the tag and length of a value whose content is n bytes.
func appendHeader(dst []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(dst, tag, byte(n))
	case n < 1<<8:
		return append(dst, tag, 0x81, byte(n))
	case n < 1<<16:
		return append(dst, tag, 0x82, byte(n>>8), byte(n))
	case n < 1<<24:
		return append(dst, tag, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, tag, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// appendDER appends a value of the given tag, whose content is the concatenation of parts.
func appendDER(dst []byte, tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	dst = appendHeader(dst, tag, n)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// generalizedTime reads the content of a GeneralizedTime of DER: UTC, seconds always, a fraction without trailing zeros
// (X.690 section 11.7).
func generalizedTime(b []byte) (time.Time, error) {
	s := string(b)
	const layout = "20060102150405Z"
	t, err := time.Parse(layout, s)
	if err != nil {
		return time.Time{}, errDER
	}
	if i := len("20060102150405"); len(s) > i+1 {
		// time.Parse takes a fraction, of any length and after a comma too.
		if s[i] != '.' || s[len(s)-2] == '0' || len(s)-i-2 > 9 {
			return time.Time{}, errDER
		}
	}
	return t.UTC(), nil
}

// utcTime reads the content of a UTCTime of DER (X.690 section 11.8): years 1950 to 2049.
func utcTime(b []byte) (time.Time, error) {
	t, err := time.Parse("060102150405Z", string(b))
	if err != nil || len(b) != 13 {
		return time.Time{}, errDER
	}
	if t.Year() >= 2050 {
		t = t.AddDate(-100, 0, 0)
	}
	return t.UTC(), nil
}
