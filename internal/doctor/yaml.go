package doctor

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rhysd/actionlint"
	"gopkg.in/yaml.v3"
)

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxFile)
	}
	return data, nil
}

// parseYAML parses the documents of a YAML file, and refuses one whose aliases contain themselves or multiply
// its size, or which nests too deeply.
func parseYAML(data []byte) (docs []*yaml.Node, err error) {
	defer func() { // the parser is not ours, and the file may be anybody's
		if r := recover(); r != nil {
			docs, err = nil, fmt.Errorf("parsing YAML: %v", r)
		}
	}()
	if nestsTooDeep(data) {
		return nil, fmt.Errorf("parsing YAML: nests deeper than %d levels", maxDepth)
	}
	d := yaml.NewDecoder(strings.NewReader(string(data)))
	for {
		var n yaml.Node
		if err := d.Decode(&n); err == io.EOF {
			return docs, nil
		} else if err != nil {
			return nil, fmt.Errorf("parsing YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		m := &measure{sizes: map[*yaml.Node]int{}}
		if size := m.size(&n, 0); m.err != nil {
			return nil, fmt.Errorf("parsing YAML: %w", m.err)
		} else if size > maxNodes {
			return nil, fmt.Errorf("parsing YAML: has more than %d nodes, its aliases expanded", maxNodes)
		}
		if docs = append(docs, &n); len(docs) > 20 {
			return nil, errors.New("parsing YAML: has more than 20 documents")
		}
	}
}

// nestsTooDeep looks for a run of flow brackets before the parser recurses into it.
func nestsTooDeep(data []byte) bool {
	depth := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			if depth++; depth > 50*maxDepth {
				return true
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return false
}

// measure counts the nodes of a document with its aliases expanded.
type measure struct {
	sizes map[*yaml.Node]int // 0: being measured
	err   error
}

func (m *measure) size(n *yaml.Node, depth int) int {
	if m.err != nil {
		return 0
	}
	if depth > maxDepth {
		m.err = fmt.Errorf("nests deeper than %d levels", maxDepth)
		return 0
	}
	if size, ok := m.sizes[n]; ok {
		if size == 0 {
			m.err = errors.New("an alias contains itself")
		}
		return size
	}
	m.sizes[n] = 0
	size := 1
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		size += m.size(n.Alias, depth+1)
	}
	for _, child := range n.Content {
		if size += m.size(child, depth+1); size > maxNodes {
			size = maxNodes + 1
		}
	}
	m.sizes[n] = size
	return size
}

// parseWorkflow parses a workflow with actionlint. What actionlint does not like, but could read all the same, is
// no error here: GitHub's syntax grows faster than any linter.
func parseWorkflow(data []byte) (w *actionlint.Workflow, err error) {
	if _, err := parseYAML(data); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			w, err = nil, fmt.Errorf("parsing workflow: %v", r)
		}
	}()
	w, problems := actionlint.Parse(data)
	if w == nil || len(w.Jobs) == 0 {
		for _, p := range problems {
			return nil, fmt.Errorf("parsing workflow: line %d: %s", p.Line, p.Message)
		}
		return nil, errors.New("parsing workflow: has no jobs")
	}
	return w, nil
}

// deref follows an alias.
func deref(n *yaml.Node) *yaml.Node {
	for range maxDepth {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

// field returns a mapping's value and the line of its key; nil and 0 where it has none. Merge keys count.
func field(n *yaml.Node, name string) (value *yaml.Node, line int) {
	return fieldAt(n, name, 0)
}

func fieldAt(n *yaml.Node, name string, depth int) (*yaml.Node, int) {
	n = deref(n)
	if n == nil || n.Kind != yaml.MappingNode || depth > 20 {
		return nil, 0
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return deref(n.Content[i+1]), n.Content[i].Line
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "<<" {
			continue
		}
		merged := deref(n.Content[i+1])
		if merged != nil && merged.Kind == yaml.SequenceNode {
			for _, m := range merged.Content {
				if v, line := fieldAt(m, name, depth+1); v != nil {
					return v, line
				}
			}
		} else if v, line := fieldAt(merged, name, depth+1); v != nil {
			return v, line
		}
	}
	return nil, 0
}

// text returns a scalar's value, "" for anything else.
func text(n *yaml.Node) string {
	if n = deref(n); n != nil && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

// texts returns the scalars of a scalar or of a sequence, nested sequences included as GitLab flattens them.
func texts(n *yaml.Node) []*yaml.Node {
	n = deref(n)
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.ScalarNode:
		return []*yaml.Node{n}
	case n.Kind == yaml.SequenceNode:
		var all []*yaml.Node
		for _, c := range n.Content {
			all = append(all, texts(c)...)
		}
		return all
	}
	return nil
}
