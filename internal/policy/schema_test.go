package policy

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"
)

func schemaOf(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(SchemaJSON()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:assay:policy:v1", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:assay:policy:v1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a YAML file as an editor shows it to a schema: of the types of JSON only, days being texts.
func instance(data []byte) (v any, ok bool) {
	var root yaml.Node
	if yaml.Unmarshal(data, &root) != nil || len(root.Content) != 1 {
		return nil, false
	}
	var value func(n *yaml.Node) (any, bool)
	value = func(n *yaml.Node) (any, bool) {
		switch n.Kind {
		case yaml.MappingNode:
			m := map[string]any{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				v, ok := value(n.Content[i+1])
				if _, twice := m[n.Content[i].Value]; !ok || twice || n.Content[i].Kind != yaml.ScalarNode {
					return nil, false
				}
				m[n.Content[i].Value] = v
			}
			return m, true
		case yaml.SequenceNode:
			list := []any{}
			for _, c := range n.Content {
				v, ok := value(c)
				if !ok {
					return nil, false
				}
				list = append(list, v)
			}
			return list, true
		case yaml.ScalarNode:
			switch n.Tag {
			case "!!int", "!!float":
				var f float64
				if n.Decode(&f) != nil {
					return nil, false
				}
				if f == float64(int64(f)) && n.Tag == "!!int" {
					return json.Number(n.Value), json.Valid([]byte(n.Value))
				}
				return f, true
			case "!!bool":
				return strings.EqualFold(n.Value, "true"), true
			case "!!null":
				return nil, true
			}
			return n.Value, n.Style&yaml.TaggedStyle == 0
		}
		return nil, false // an alias
	}
	return value(root.Content[0])
}

// beyondSchema are the refusals that a schema cannot express: what is not of its data model, what compares several places,
// and what needs a parser of its own.
var beyondSchema = []string{
	"anchor in a list of packages", "anchor on a text", "anchor on a key", "text by tag", "own tag", "tagged key", // gone before a schema sees anything
	"octal id", "id with a mark", "hexadecimal id", "id as a float", "old truth for a text", "day for a text", "number as a key", // as above
	"many stars", "version cut short", "version with x", "tag for a version", "foreign purl", "purl with a qualifier", // the grammar of patterns
	"id without its issuer", "waiver of no rule", "waiver of a section with several rules", "rule with a built-in id", "rule twice", "attested longer than not", "waiver until no day", "duration beyond all bounds", "extends where nothing can be read", "second document", "rubbish behind the end",
}

// TestSchema holds the published schema and the parser together: what one accepts the other does, but for the refusals
// that no schema can express, which are listed.
func TestSchema(t *testing.T) {
	schema := schemaOf(t)
	for _, text := range acceptable {
		v, ok := instance([]byte("version: 1\n" + text))
		if !ok {
			t.Fatalf("%q is no instance", text)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("the schema refuses %q: %v", text, err)
		}
	}
	refused := 0
	for _, tt := range refusals {
		v, ok := instance([]byte("version: 1\n" + tt.in))
		if !ok {
			continue
		}
		err := schema.Validate(v)
		switch beyond := slices.Contains(beyondSchema, tt.name); {
		case err == nil && !beyond:
			t.Errorf("%s: the schema accepts %q, and the parser says: %s", tt.name, tt.in, tt.wantErr)
		case err != nil:
			refused++
		}
	}
	if refused < 35 {
		t.Errorf("the schema refuses only %d", refused)
	}
	for _, text := range []string{"version: 2\n", "version: '1'\n", "mode: observe\n", "[]\n", "version: true\n"} {
		if v, ok := instance([]byte(text)); ok && schema.Validate(v) == nil {
			t.Errorf("the schema accepts %q", text)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := drawPolicy(t).text(asWritten)
		v, ok := instance([]byte(text))
		if !ok {
			t.Fatalf("no instance:\n%s", text)
		}
		read(t, text)
		if err := schema.Validate(v); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

// TestSchemaKeys: the schema and the parser know the same keys everywhere.
func TestSchemaKeys(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(SchemaJSON(), &doc); err != nil {
		t.Fatal(err)
	}
	// at follows a way through the schema, into the alternative that is a mapping.
	at := func(way ...string) map[string]any {
		n := doc
		for _, step := range way {
			if n = n[step].(map[string]any); n["$ref"] != nil {
				n = doc["definitions"].(map[string]any)[strings.TrimPrefix(n["$ref"].(string), "#/definitions/")].(map[string]any)
			}
			if list, ok := n["oneOf"].([]any); ok {
				for _, one := range list {
					if m, ok := one.(map[string]any); ok && m["type"] == "object" {
						n = m
					}
				}
			}
		}
		if n["additionalProperties"] != false {
			t.Errorf("%v takes any key", way)
		}
		return n["properties"].(map[string]any)
	}
	for _, tt := range []struct {
		in  string // a misspelt key, so that the parser says what it knows
		way []string
	}{
		{"misspelt: 1\n", nil},
		{"default: {misspelt: 1}\n", []string{"properties", "default"}},
		{"default: {unchecked: {misspelt: 1}}\n", []string{"properties", "default", "properties", "unchecked"}},
		{"default: {invalid: {misspelt: 1}}\n", []string{"properties", "default", "properties", "invalid"}},
		{"drift: {misspelt: 1}\n", []string{"properties", "drift"}},
		{"critical: [{misspelt: 1}]\n", []string{"properties", "critical", "items"}},
		{"publishers: [{misspelt: 1}]\n", []string{"properties", "publishers", "items"}},
		{"identity: {misspelt: 1}\n", []string{"properties", "identity"}},
		{"downgrade: {misspelt: 1}\n", []string{"properties", "downgrade"}},
		{"min-age: {misspelt: 1}\n", []string{"properties", "min-age"}},
		{"sources: {misspelt: 1}\n", []string{"properties", "sources"}},
		{"registries: {'https://a.example': {misspelt: 1}}\n", []string{"properties", "registries", "additionalProperties"}},
		{"registries: {'https://a.example': {publisher: {misspelt: 1}}}\n", []string{"properties", "registries", "additionalProperties", "properties", "publisher"}},
		{"rules: [{misspelt: 1}]\n", []string{"properties", "rules", "items"}},
		{"waivers: [{misspelt: 1}]\n", []string{"properties", "waivers", "items"}},
		{"ratchet: {misspelt: 1}\n", []string{"properties", "ratchet"}},
	} {
		_, err := Parse([]byte("version: 1\n"+tt.in), "p.yaml", nil)
		if err == nil {
			t.Fatalf("%q is read", tt.in)
		}
		_, known, _ := strings.Cut(err.Error(), "nown here: ")
		if got := slices.Sorted(maps.Keys(at(tt.way...))); strings.Join(got, ", ") != known {
			t.Errorf("%v: the schema knows %v, the parser %s", tt.way, got, known)
		}
	}
}
