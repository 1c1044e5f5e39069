package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// A member is one member of an object.
type member struct {
	name  string
	value any // string, bool, object, []any or json.RawMessage; nil: left out, as JSON.stringify leaves out undefined
}

// An object is a JSON object whose members keep their order. It is written as JSON.stringify writes it (ECMA-262,
// section 25.5.4), so that a statement made here is byte for byte what npm makes.
type object []member

func (o object) json() []byte { return appendValue(nil, o) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case bool:
		return fmt.Append(b, v)
	case json.RawMessage:
		return append(b, v...)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		return append(b, ']')
	case object:
		b = append(b, '{')
		first := true
		for _, m := range v {
			if m.value == nil {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(appendString(b, m.name), ':')
			b = appendValue(b, m.value)
		}
		return append(b, '}')
	}
	panic(fmt.Sprintf("publish: no JSON form for %T", v))
}

// appendString quotes as QuoteJSONString does (ECMA-262, section 25.5.4.3). A byte that is no UTF-8 becomes U+FFFD,
// as in the environment that Node.js shows.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < 0x20:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// parseObject reads a JSON object one level deep, keeping the order of its members and the bytes of their values.
// Two members of one name are an error.
func parseObject(data []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	var o object
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok || seen[name] {
			return nil, fmt.Errorf("member %v stands twice, or is no name", t)
		}
		seen[name] = true
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		o = append(o, member{name, raw})
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	return o, nil
}

// get returns a member's bytes, nil if it is not there.
func (o object) get(name string) json.RawMessage {
	for _, m := range o {
		if m.name == name {
			raw, _ := m.value.(json.RawMessage)
			return raw
		}
	}
	return nil
}

// set replaces a member, or adds it at the end; a nil value removes it.
func (o *object) set(name string, value any) {
	for i := range *o {
		if (*o)[i].name == name {
			(*o)[i].value = value
			return
		}
	}
	*o = append(*o, member{name, value})
}

// text reads a member as a string, "" if it is none.
func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o.get(name), &s) != nil {
		return ""
	}
	return s
}
