package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"assay/internal/npm"
	"assay/internal/sigstore"
)

// Bounds on files that users name.
const (
	maxRootFile = 8 << 20 // bytes
	maxKeysFile = 1 << 20 // bytes
	maxMerged   = 64      // trusted roots in one file
)

// trustedRootType is what the media type of every trusted root starts with
// (sigstore/protobuf-specs, sigstore_trustroot.proto).
const trustedRootType = "application/vnd.dev.sigstore.trustedroot"

// rootLists are the fields of a trusted root; each is a list of instances that are trusted side by side.
var rootLists = []string{"tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"}

// ReadTrustedRoot reads a file with one trusted root, or with several, one JSON document after the other
// ("gh attestation trusted-root" prints one a line). Several are merged: what any of them trusts is trusted.
// The second result is what was parsed: data itself for one root, else the merged document, which is the
// same for the same data.
//
// Merging does not keep the roots apart: a certificate of one root's authority may be logged in another
// root's log. Name a file with one root where that is not wanted.
func ReadTrustedRoot(data []byte) (*sigstore.TrustedRoot, []byte, error) {
	if len(data) > maxRootFile {
		return nil, nil, fmt.Errorf("larger than %d bytes", maxRootFile)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var docs []json.RawMessage
	for {
		var doc json.RawMessage
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("not JSON: %w", err)
		}
		if len(docs) == maxMerged {
			return nil, nil, fmt.Errorf("more than %d trusted roots", maxMerged)
		}
		docs = append(docs, doc)
	}
	switch len(docs) {
	case 0:
		return nil, nil, errors.New("the file is empty")
	case 1:
		root, err := sigstore.ParseTrustedRoot(data)
		return root, data, err
	}
	merged, err := mergeRoots(docs)
	if err != nil {
		return nil, nil, err
	}
	for i, doc := range docs {
		if _, err := sigstore.ParseTrustedRoot(doc); err != nil {
			return nil, nil, fmt.Errorf("trusted root %d of %d: %w", i+1, len(docs), err)
		}
	}
	root, err := sigstore.ParseTrustedRoot(merged)
	return root, merged, err
}

// mergeRoots puts the lists of several trusted roots one behind the other, equal entries once.
func mergeRoots(docs []json.RawMessage) ([]byte, error) {
	var mediaType string
	lists := make(map[string][]json.RawMessage)
	seen := make(map[string]bool)
	for i, doc := range docs {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(doc, &fields); err != nil {
			return nil, fmt.Errorf("trusted root %d of %d: not an object", i+1, len(docs))
		}
		var mt string
		if err := json.Unmarshal(fields["mediaType"], &mt); err != nil || !strings.HasPrefix(mt, trustedRootType) {
			return nil, fmt.Errorf("trusted root %d of %d: its media type is not that of a trusted root", i+1, len(docs))
		}
		mediaType = max(mediaType, mt) // "…+json;version=0.1" before "….v0.2+json"
		delete(fields, "mediaType")
		for _, name := range rootLists {
			var entries []json.RawMessage
			if raw := fields[name]; raw != nil {
				if err := json.Unmarshal(raw, &entries); err != nil {
					return nil, fmt.Errorf("trusted root %d of %d: %s is not a list", i+1, len(docs), name)
				}
			}
			delete(fields, name)
			for _, e := range entries {
				var compact bytes.Buffer
				if err := json.Compact(&compact, e); err != nil {
					return nil, fmt.Errorf("trusted root %d of %d: %s: %w", i+1, len(docs), name, err)
				}
				if key := name + compact.String(); !seen[key] {
					seen[key] = true
					lists[name] = append(lists[name], compact.Bytes())
				}
			}
		}
		for name := range fields {
			return nil, fmt.Errorf("trusted root %d of %d: field %q is not known", i+1, len(docs), name)
		}
	}
	out := []byte(`{"mediaType":`)
	mt, err := json.Marshal(mediaType)
	if err != nil {
		return nil, err
	}
	out = append(out, mt...)
	for _, name := range rootLists {
		if len(lists[name]) == 0 {
			continue
		}
		out = append(out, fmt.Sprintf(",%q:[", name)...)
		for i, e := range lists[name] {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, e...)
		}
		out = append(out, ']')
	}
	return append(out, "}\n"...), nil
}

// readKeys parses registry keys in either form and refuses a file without any.
func readKeys(data []byte) ([]npm.Key, error) {
	keys, err := npm.ParseKeys(data)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("no keys")
	}
	return keys, nil
}
