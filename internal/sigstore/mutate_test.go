package sigstore

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

var (
	mutants    = flag.Int("mutants", 20000, "how many mutants to compare with sigstore-go")
	mutantSeed = flag.Uint64("mutant-seed", 1, "seed of the mutants: the same gives the same")
)

// A node is one value inside a bundle's JSON, with what is needed to replace it.
type node struct {
	path   string // names and indices, joined by '/'
	value  any
	set    func(any)
	parent map[string]any // nil for elements of arrays
	name   string
	list   *[]any // the array, for its elements
	put    func([]any)
	index  int
}

// walk lists every value of a tree.
func walk(path string, v any, set func(any), visit func(node)) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			p := path + "/" + name
			visit(node{path: p, value: v[name], set: func(x any) { v[name] = x }, parent: v, name: name})
			walk(p, v[name], func(x any) { v[name] = x }, visit)
		}
	case []any:
		for i := range v {
			p := path + "/" + strconv.Itoa(i)
			visit(node{path: p, value: v[i], set: func(x any) { v[i] = x }, list: &v, put: func(l []any) { set(l) }, index: i})
			walk(p, v[i], func(x any) { v[i] = x }, visit)
		}
	}
}

func decodeTree(t testing.TB, b []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree map[string]any
	if err := d.Decode(&tree); err != nil {
		return nil
	}
	return tree
}

func encodeTree(tree any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(tree) // what does not encode makes an empty mutant
	return bytes.TrimSpace(b.Bytes())
}

// A mutant is a changed bundle with what to verify it by.
type mutant struct {
	name    string
	data    []byte
	root    []byte
	options Options
}

// isBase64 reports whether a string of a bundle is likely base64.
func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(s) >= 8 && len(s)%4 == 0
}

func flipBit(r *rand.Rand, b []byte) []byte {
	out := bytes.Clone(b)
	if len(out) > 0 {
		out[r.IntN(len(out))] ^= 1 << r.IntN(8)
	}
	return out
}

func snake(name string) string {
	var b strings.Builder
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// mutate makes the i-th mutant of seeds. The same i gives the same mutant.
func mutate(t testing.TB, seeds []corpusBundle, i int) mutant {
	r := rand.New(rand.NewPCG(*mutantSeed, uint64(i)))
	s := seeds[i%len(seeds)]
	m := mutant{name: fmt.Sprintf("%d of %s", i, s.name), data: s.data, root: s.root, options: s.options}
	steps := 1
	if r.IntN(8) == 0 {
		steps = 2
	}
	for range steps {
		how := mutateOnce(t, r, seeds, &m)
		m.name += ": " + how
	}
	return m
}

func mutateOnce(t testing.TB, r *rand.Rand, seeds []corpusBundle, m *mutant) string {
	tree := decodeTree(t, m.data)
	if tree == nil {
		m.data = flipBit(r, m.data)
		return "flip a bit of the text"
	}
	var nodes []node
	walk("", tree, nil, func(n node) { nodes = append(nodes, n) })
	pick := func(ok func(node) bool) (node, bool) {
		var found []node
		for _, n := range nodes {
			if ok(n) {
				found = append(found, n)
			}
		}
		if len(found) == 0 {
			return node{}, false
		}
		return found[r.IntN(len(found))], true
	}
	text := func(n node) bool { s, ok := n.value.(string); return ok && s != "" }
	base := func(n node) bool { s, ok := n.value.(string); return ok && isBase64(s) }
	done := func(how string) string {
		m.data = encodeTree(tree)
		return how
	}
	other := decodeTree(t, seeds[r.IntN(len(seeds))].data)

	switch choice := r.IntN(26); choice {
	case 0, 1, 2: // a bit of something decoded
		if n, ok := pick(base); ok {
			b, _ := base64.StdEncoding.DecodeString(n.value.(string))
			n.set(base64.StdEncoding.EncodeToString(flipBit(r, b)))
			return done("flip a bit in " + n.path)
		}
	case 3, 4: // inside the log entry, which is JSON in base64
		if n, ok := pick(func(n node) bool { return base(n) && strings.HasSuffix(n.path, "/canonicalizedBody") }); ok {
			b, _ := base64.StdEncoding.DecodeString(n.value.(string))
			inner := mutant{data: b}
			how := mutateOnce(t, r, seeds, &inner)
			n.set(base64.StdEncoding.EncodeToString(inner.data))
			return done("in the log entry: " + how)
		}
	case 5: // a character of a string
		if n, ok := pick(text); ok {
			b := []byte(n.value.(string))
			b[r.IntN(len(b))] = "aA0+/= \n-_."[r.IntN(11)]
			n.set(string(b))
			return done("change a character of " + n.path)
		}
	case 6: // garbage around what is decoded
		if n, ok := pick(base); ok {
			b, _ := base64.StdEncoding.DecodeString(n.value.(string))
			switch r.IntN(4) {
			case 0:
				b = append(b, 0)
			case 1:
				b = append([]byte{0}, b...)
			case 2:
				b = b[:len(b)-1]
			case 3:
				b = append(b, b...)
			}
			n.set(base64.StdEncoding.EncodeToString(b))
			return done("lengthen or shorten " + n.path)
		}
	case 7: // other spellings of base64
		if n, ok := pick(base); ok {
			s := n.value.(string)
			how := ""
			switch r.IntN(5) {
			case 0:
				s, how = strings.NewReplacer("+", "-", "/", "_").Replace(s), "URL-safe"
			case 1:
				s, how = strings.TrimRight(s, "="), "unpadded"
			case 2:
				at := r.IntN(len(s))
				s, how = s[:at]+"\n"+s[at:], "broken into lines"
			case 3:
				s, how = s+"=", "padded more"
			case 4:
				if at := strings.IndexByte(s, '='); at > 0 {
					const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
					s = s[:at-1] + string(alphabet[strings.IndexByte(alphabet, s[at-1])^1]) + s[at:]
				}
				how = "with unused bits"
			}
			n.set(s)
			return done("base64 " + how + " in " + n.path)
		}
	case 8: // drop
		if n, ok := pick(func(n node) bool { return n.parent != nil }); ok {
			delete(n.parent, n.name)
			return done("drop " + n.path)
		}
	case 9: // null, or another kind of value
		if n, ok := pick(func(node) bool { return true }); ok {
			v := []any{nil, "", 0, map[string]any{}, []any{}, false}[r.IntN(6)]
			n.set(v)
			return done(fmt.Sprintf("%v in place of %s", v, n.path))
		}
	case 10: // an array shorter, longer or in another order
		if n, ok := pick(func(n node) bool { return n.list != nil && n.put != nil }); ok {
			l := slices.Clone(*n.list)
			how := ""
			switch r.IntN(4) {
			case 0:
				l, how = slices.Delete(l, n.index, n.index+1), "drop"
			case 1:
				l, how = slices.Insert(l, n.index, l[n.index]), "double"
			case 2:
				j := r.IntN(len(l))
				l[n.index], l[j] = l[j], l[n.index]
				how = "swap"
			case 3:
				for range 40 {
					l = append(l, l[n.index])
				}
				how = "repeat"
			}
			n.put(l)
			return done(how + " element " + n.path)
		}
	case 11, 12, 13: // the same place of another bundle
		var others []node
		if other != nil {
			walk("", other, nil, func(n node) { others = append(others, n) })
		}
		if n, ok := pick(func(n node) bool {
			return slices.ContainsFunc(others, func(o node) bool { return o.path == n.path })
		}); ok {
			for _, o := range others {
				if o.path == n.path {
					n.set(o.value)
				}
			}
			return done("take " + n.path + " from another bundle")
		}
	case 14: // another media type
		types := []string{
			mediaTypeV01, mediaTypeV02, mediaTypeV03, mediaTypeV03Old, mediaTypePrefix + ".v0.1+json", mediaTypePrefix + ".v0.3.1+json",
			mediaTypePrefix + ".v0.4+json", mediaTypePrefix + "+json;version=0.4", mediaTypePrefix + "+json", "",
		}
		tree["mediaType"] = types[r.IntN(len(types))]
		return done(fmt.Sprintf("media type %v", tree["mediaType"]))
	case 15: // numbers
		if n, ok := pick(func(n node) bool { return numeric(n) }); ok {
			s := strings.TrimLeft(fmt.Sprint(n.value), "-")
			v, _ := strconv.ParseInt(s, 10, 64)
			values := []any{
				json.Number(s), s, json.Number(s + ".0"), json.Number(s + "e0"), s + ".0", "0" + s, " " + s, "+" + s, "-" + s, json.Number("-" + s),
				strconv.FormatInt(v+1, 10), strconv.FormatInt(v-1, 10), strconv.FormatInt(v^1<<r.IntN(40), 10), "0", "9223372036854775807",
				"9223372036854775808", "18446744073709551616", "", "x", strconv.FormatInt(v+86400*365, 10), strconv.FormatInt(v+300, 10),
			}
			n.set(values[r.IntN(len(values))])
			return done("another number in " + n.path)
		}
	case 16: // a member more, or by another name
		if n, ok := pick(func(n node) bool { return n.parent != nil }); ok {
			switch r.IntN(3) {
			case 0:
				n.parent["unknown"] = n.value
				return done("unknown member beside " + n.path)
			case 1:
				n.parent["unknown"] = nil
				return done("unknown null beside " + n.path)
			case 2:
				delete(n.parent, n.name)
				n.parent[snake(n.name)] = n.value
				return done("field name in place of " + n.path)
			}
		}
	case 17: // a name twice
		if n, ok := pick(func(n node) bool { return n.parent != nil }); ok {
			delete(n.parent, n.name)
			name, value := encodeTree(n.name), encodeTree(n.value)
			n.parent["\x00"] = "\x00"
			marker := []byte(`"\u0000":"\u0000"`)
			twice := slices.Concat(name, []byte(":"), value, []byte(","), name, []byte(":"), value)
			m.data = bytes.Replace(encodeTree(tree), marker, twice, 1)
			return "twice " + n.path
		}
	case 18: // around the JSON
		switch r.IntN(4) {
		case 0:
			m.data = slices.Concat(m.data, []byte(" \n\t"))
		case 1:
			m.data = slices.Concat(m.data, []byte("x"))
		case 2:
			m.data = slices.Concat(m.data, m.data)
		case 3:
			m.data = m.data[:r.IntN(len(m.data))]
		}
		return "append to the text, or cut it"
	case 19: // a bit or byte of the text
		m.data = flipBit(r, m.data)
		return "flip a bit of the text"
	case 20: // checkpoints
		if n, ok := pick(func(n node) bool { return strings.HasSuffix(n.path, "/checkpoint/envelope") && text(n) }); ok {
			s := n.value.(string)
			lines := strings.Split(s, "\n")
			k := r.IntN(len(lines))
			switch r.IntN(7) {
			case 0:
				lines = slices.Delete(lines, k, k+1)
			case 1:
				lines = slices.Insert(lines, k, lines[k])
			case 2:
				lines[k] += " "
			case 3:
				lines = append(lines[:len(lines)-1], "\u2014 witness.example wNI9ajBFAiBeAAAAAAAAAAAAAAAA", "")
			case 4:
				lines = slices.Insert(lines, len(lines)-2, "\u2014 witness.example AAAAajBFAiBeAAAAAAAAAAAAAAAA")
			case 5:
				lines = append(lines, "")
			case 6:
				lines[len(lines)-2] = strings.Replace(lines[len(lines)-2], "rekor", "other", 1)
			}
			n.set(strings.Join(lines, "\n"))
			return done("edit checkpoint")
		}
	case 21: // certificate and chain
		if vm, ok := tree["verificationMaterial"].(map[string]any); ok {
			if c, ok := vm["certificate"]; ok {
				vm["x509CertificateChain"] = map[string]any{"certificates": []any{c}}
				delete(vm, "certificate")
			} else if chain, ok := vm["x509CertificateChain"].(map[string]any); ok {
				if certs, ok := chain["certificates"].([]any); ok && len(certs) > 0 {
					vm["certificate"] = certs[r.IntN(len(certs))]
					if r.IntN(4) > 0 {
						delete(vm, "x509CertificateChain")
					}
				}
			}
			return done("certificate in place of chain, or chain in place of certificate")
		}
	case 22: // without some evidence
		for _, n := range nodes {
			drop := []string{"inclusionPromise", "inclusionProof", "timestampVerificationData", "tlogEntries", "keyid", "hint"}
			if n.parent != nil && slices.Contains(drop, n.name) && r.IntN(3) == 0 {
				delete(n.parent, n.name)
			}
		}
		return done("without some evidence")
	case 23: // entries and timestamps of two bundles together
		vm, ok1 := tree["verificationMaterial"].(map[string]any)
		ovm, ok2 := other["verificationMaterial"].(map[string]any)
		if ok1 && ok2 {
			a, _ := vm["tlogEntries"].([]any)
			b, _ := ovm["tlogEntries"].([]any)
			if r.IntN(2) == 0 {
				a, b = b, a
			}
			vm["tlogEntries"] = append(slices.Clone(a), b...)
			ts, _ := vm["timestampVerificationData"].(map[string]any)
			ots, _ := ovm["timestampVerificationData"].(map[string]any)
			if ots != nil {
				x, _ := ts["rfc3161Timestamps"].([]any)
				y, _ := ots["rfc3161Timestamps"].([]any)
				vm["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": append(slices.Clone(x), y...)}
			}
			return done("entries and timestamps of two bundles")
		}
	case 24: // other expectations
		o := seeds[r.IntN(len(seeds))]
		switch r.IntN(6) {
		case 0:
			m.options.Key = o.options.Key
			return "key of another bundle"
		case 1:
			m.options.Artifact = o.options.Artifact
			return "artifact of another bundle"
		case 2:
			m.root = o.root
			return "trusted root of another bundle"
		case 3, 4:
			if m.options.Key != nil {
				k := *m.options.Key
				k.Start = time.Date(2023+r.IntN(4), time.Month(1+r.IntN(12)), 1, 0, 0, 0, 0, time.UTC)
				k.End = k.Start.AddDate(0, r.IntN(24), 0)
				m.options.Key = &k
				return "key of another time"
			}
		case 5:
			if m.options.Key != nil {
				k := *m.options.Key
				k.ID = "SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U"
				m.options.Key = &k
				return "key of another name"
			}
		}
	case 25: // other validity in the trusted root
		if tree := decodeTree(t, m.root); tree != nil {
			var ends []node
			walk("", tree, nil, func(n node) {
				if n.name == "validFor" {
					ends = append(ends, n)
				}
			})
			if len(ends) > 0 {
				n := ends[r.IntN(len(ends))]
				start := time.Date(2021+r.IntN(6), time.Month(1+r.IntN(12)), 1, 0, 0, 0, 0, time.UTC)
				n.set(map[string]any{"start": start.Format(time.RFC3339), "end": start.AddDate(0, r.IntN(36), 0).Format(time.RFC3339)})
				m.root = encodeTree(tree)
				return "another validity at " + n.path + " of the trusted root"
			}
		}
	}
	m.data = flipBit(r, m.data)
	return "flip a bit of the text"
}

func numeric(n node) bool {
	switch v := n.value.(type) {
	case json.Number:
		_, err := strconv.ParseInt(v.String(), 10, 64)
		return err == nil
	case string:
		_, err := strconv.ParseInt(v, 10, 64)
		return err == nil
	}
	return false
}

// mutationSeeds are the bundles that mutants are made of: those that hold thrice, so that most mutants are of them.
func mutationSeeds(t *testing.T) []corpusBundle {
	all := moduleBundles(t)
	if dir := findCorpus(); dir != "" {
		all = append(all, corpusBundles(t, dir)...)
	}
	var seeds []corpusBundle
	for _, b := range all {
		r, err := ParseTrustedRoot(b.root)
		if reasons := ours(r, err, b.data, b.options); reasons == nil {
			seeds = append(seeds, b, b, b)
		} else if decodeTree(t, b.data) != nil {
			seeds = append(seeds, b)
		}
	}
	return seeds
}

// TestOracleOnMutants asks sigstore-go and this package about many thousand damaged bundles. What sigstore-go refuses
// must not hold here; what only fails here has to fail for a reason that is named as a stricter rule.
func TestOracleOnMutants(t *testing.T) {
	quiet(t)
	total := *mutants
	if testing.Short() {
		total = min(total, 1500)
	}
	seeds := mutationSeeds(t)
	stricter := stricterReasons()
	var mu sync.Mutex
	counts, only := map[string]int{}, map[string]int{}
	shards := 2 * runtime.GOMAXPROCS(0)
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				roots, parsed := map[string]*root.TrustedRoot{}, map[string]*TrustedRoot{}
				for i := shard; i < total; i += shards {
					m := mutate(t, seeds, i)
					key := string(m.root)
					o, ok := roots[key]
					r, err := parsed[key], error(nil)
					if !ok {
						o, _ = root.NewTrustedRootFromJSON(m.root)
						r, err = ParseTrustedRoot(m.root)
						if len(roots) < 200 {
							roots[key], parsed[key] = o, r
						}
					}
					if r == nil && err == nil {
						_, err = ParseTrustedRoot(m.root)
					}
					reasons, theirs := compare(t, m.name, stricter, o, r, err, m.data, m.options)
					mu.Lock()
					switch {
					case theirs == nil && reasons == nil:
						counts["both hold"]++
					case theirs == nil:
						counts["only here refused"]++
						for _, r := range reasons {
							only[r]++
						}
					default:
						counts["both refuse"]++
					}
					mu.Unlock()
					if t.Failed() {
						return
					}
				}
			})
		}
	})
	t.Logf("%d mutants of %d seeds: %v", total, len(seeds), counts)
	t.Logf("refused here only, by reason: %v", only)
	if counts["both hold"] < total/50 || counts["both refuse"] < total/4 {
		t.Errorf("the mutants are too much of one kind: %v", counts)
	}
}
