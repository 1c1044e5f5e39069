package policy

import _ "embed"

//go:embed schema.json
var schemaJSON []byte

// SchemaJSON returns the JSON Schema (draft 7, which editors know) of policy files. What it refuses [Parse] refuses too;
// Parse knows more, such as whether an expression compiles. The caller may change the bytes.
func SchemaJSON() []byte { return append([]byte(nil), schemaJSON...) }
