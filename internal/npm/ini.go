package npm

import (
	"encoding/json"
	"regexp"
	"strings"
)

// iniKind is the type that npm's ini gives to a value.
type iniKind int

const (
	iniString iniKind = iota
	iniBool           // texts[0] is "true" or "false"
	iniNull           // written as null; texts is nil
	iniList           // written as key[]=…; texts has one element for each line
)

// An iniEntry is one setting of an ini file outside of its sections.
type iniEntry struct {
	key   string
	kind  iniKind
	texts []string
}

var iniSection = regexp.MustCompile(`^\[[^\]]*\]\s*$`)

// parseINI reads a file as npm's ini does and returns its settings in the order of their first mention,
// each key once. It knows no errors: what is no setting is passed over. Settings in [sections] are
// passed over too, because npm has no use for them.
// Source: npm's ini 6, decode.
func parseINI(data []byte) []iniEntry {
	var entries []iniEntry
	index := make(map[string]int)
	lines := strings.FieldsFunc(strings.ToValidUTF8(string(data), "\ufffd"), func(r rune) bool {
		return r == '\r' || r == '\n'
	})
	for _, line := range lines {
		trimmed := strings.TrimFunc(line, isSpaceJS)
		if trimmed == "" || trimmed[0] == ';' || trimmed[0] == '#' {
			continue
		}
		if iniSection.MatchString(line) {
			break // there is no way back out of the first section
		}
		rawKey, rawValue, hasValue := strings.Cut(line, "=")
		// ini's pattern lets no other line separator into a value.
		if rawKey == "" || hasValue && strings.ContainsAny(rawValue, "\u2028\u2029") {
			continue
		}
		key, ok := iniUnquote(rawKey).scalar()
		if !ok {
			continue
		}
		bare, isList := strings.CutSuffix(key, "[]")
		if isList = isList && bare != ""; isList {
			key = bare
		}
		if key == "__proto__" {
			continue
		}
		value := iniEntry{kind: iniBool, texts: []string{"true"}}
		if hasValue {
			value = iniUnquote(rawValue)
		}
		value.key = key
		i, seen := index[key]
		switch {
		case !seen:
			index[key] = len(entries)
			if isList && value.kind != iniList {
				value.kind = iniList
			}
			entries = append(entries, value)
		case isList || entries[i].kind == iniList:
			// A later line without brackets adds to a list as well.
			entries[i].kind = iniList
			entries[i].texts = append(entries[i].texts, value.texts...)
		default:
			entries[i] = value
		}
	}
	return entries
}

// scalar returns an entry's only text; false for null and lists.
func (e iniEntry) scalar() (string, bool) {
	if (e.kind == iniString || e.kind == iniBool) && len(e.texts) == 1 {
		return e.texts[0], true
	}
	return "", false
}

// iniUnquote turns one side of a line into a value: quoted text is read as JSON (after single quotes are
// taken off), other text ends at the first ";" or "#" that has no backslash before it.
func iniUnquote(s string) iniEntry {
	s = strings.TrimFunc(s, isSpaceJS)
	switch {
	case s != "" && s[0] == '\'' && s[len(s)-1] == '\'':
		if s = strings.TrimPrefix(s, "'"); s != "" {
			s = s[:len(s)-1]
		}
		fallthrough
	case s != "" && s[0] == '"' && s[len(s)-1] == '"':
		return iniJSON(s)
	}
	var b strings.Builder
	escaped := false
scan:
	for _, r := range s {
		switch {
		case escaped:
			if r != '\\' && r != ';' && r != '#' {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
			escaped = false
		case r == ';' || r == '#':
			break scan
		case r == '\\':
			escaped = true
		default:
			b.WriteRune(r)
		}
	}
	if escaped {
		b.WriteByte('\\')
	}
	return iniWord(strings.TrimFunc(b.String(), isSpaceJS))
}

// iniJSON reads quoted text. What is no JSON stays as it is written.
func iniJSON(s string) iniEntry {
	decoder := json.NewDecoder(strings.NewReader(s))
	decoder.UseNumber()
	var v any
	if !json.Valid([]byte(s)) || decoder.Decode(&v) != nil {
		return iniWord(s)
	}
	switch v := v.(type) {
	case string:
		return iniWord(v)
	case []any:
		list := iniEntry{kind: iniList}
		for _, element := range v {
			if text, ok := jsonText(element); ok {
				list.texts = append(list.texts, text)
			}
		}
		return list
	case map[string]any:
		return iniEntry{kind: iniNull} // an object is no setting
	case nil:
		return iniEntry{kind: iniNull}
	default:
		text, _ := jsonText(v)
		return iniWord(text)
	}
}

func jsonText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "true", true
		}
		return "false", true
	}
	return "", false
}

// iniWord gives the words true, false and null their types, quoted or not.
func iniWord(s string) iniEntry {
	switch s {
	case "true", "false":
		return iniEntry{kind: iniBool, texts: []string{s}}
	case "null":
		return iniEntry{kind: iniNull}
	}
	return iniEntry{kind: iniString, texts: []string{s}}
}
