package lab

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"
)

// TUFOptions says what a TUF repository holds. Zero values mean what is said at each field.
type TUFOptions struct {
	Registries  []string             // hosts, with port and path where there is one, that get a keys.json beside registry.npmjs.org
	Version     int                  // 1; of targets, snapshot and timestamp
	Expires     time.Time            // twenty years after the lab's Start; of timestamp, snapshot and targets
	RootExpires time.Time            // likewise; of the last root
	Roots       int                  // 1; how many root versions there are, each with keys of its own
	Targets     map[string][]byte    // further targets, or others in place of the usual ones; nil bytes leave one out
	Signed      func(map[string]any) // changes the signed part of each role before it is signed; "_type" tells which
}

// A TUF is a repository as Sigstore's: consistent snapshots, the root role signed by two of three keys, with the
// targets trusted_root.json and registry.npmjs.org/keys.json.
type TUF struct {
	Root  []byte            // the first root, which a client must be given
	Files map[string][]byte // by path under the repository's URL
}

// tufKey is a key as TUF writes it, with its identifier.
func tufKey(k ed25519.PrivateKey) (id string, key map[string]any) {
	key = object{"keytype": "ed25519", "scheme": "ed25519", "keyval": object{"public": hex.EncodeToString(k.Public().(ed25519.PublicKey))}}
	sum := sha256.Sum256(marshal(key))
	return hex.EncodeToString(sum[:]), key
}

// tufMetadata signs a role (TUF specification section 4).
func tufMetadata(signed map[string]any, keys ...ed25519.PrivateKey) []byte {
	text := marshal(signed)
	sigs := []any{}
	for _, k := range keys {
		id, _ := tufKey(k)
		sigs = append(sigs, object{"keyid": id, "sig": hex.EncodeToString(ed25519.Sign(k, text))})
	}
	return marshal(object{"signatures": sigs, "signed": signed})
}

// TUF makes a repository of what the lab has now.
func (l *Lab) TUF(o TUFOptions) *TUF {
	never := l.start.AddDate(20, 0, 0)
	if o.Expires.IsZero() {
		o.Expires = never
	}
	if o.RootExpires.IsZero() {
		o.RootExpires = never
	}
	o.Version, o.Roots = max(o.Version, 1), max(o.Roots, 1)
	targets := map[string][]byte{"trusted_root.json": l.TrustedRoot()}
	for _, registry := range append([]string{"registry.npmjs.org"}, o.Registries...) {
		targets[registry+"/keys.json"] = l.RegistryKeysTUF()
	}
	for name, data := range o.Targets {
		if data == nil {
			delete(targets, name)
		} else {
			targets[name] = data
		}
	}

	t := &TUF{Files: map[string][]byte{}}
	role := func(kind string, version int, expires time.Time, more map[string]any) map[string]any {
		signed := object{"_type": kind, "spec_version": "1.0.31", "version": version, "expires": expires.UTC().Format(time.RFC3339)}
		for k, v := range more {
			signed[k] = v
		}
		if o.Signed != nil {
			o.Signed(signed)
		}
		return signed
	}
	online := l.edKey("tuf online")
	var offline []ed25519.PrivateKey // of the root version before
	for version := 1; version <= o.Roots; version++ {
		expires := o.RootExpires
		if version < o.Roots {
			expires = l.start.AddDate(0, 6*version, 0) // an old root has expired, and is used all the same
		}
		keys := []ed25519.PrivateKey{}
		for i := range 3 {
			keys = append(keys, l.edKey(fmt.Sprintf("tuf root %d key %d", version, i)))
		}
		signed := role("root", version, expires, tufRoot(keys, online))
		t.Files[fmt.Sprintf("%d.root.json", version)] = tufMetadata(signed, append(offline, keys[:2]...)...)
		offline = keys[:2:2]
	}
	t.Root = t.Files["1.root.json"]

	listed := object{}
	for name, data := range targets {
		short, long := sha256.Sum256(data), sha512.Sum512(data)
		listed[name] = object{"length": len(data), "hashes": object{"sha256": hex.EncodeToString(short[:]), "sha512": hex.EncodeToString(long[:])}}
		for _, sum := range []string{hex.EncodeToString(short[:]), hex.EncodeToString(long[:])} {
			t.Files[path.Join("targets", path.Dir(name), sum+"."+path.Base(name))] = data
		}
	}
	meta := func(name string) map[string]any { return object{"meta": object{name: object{"version": o.Version}}} }
	t.Files[fmt.Sprintf("%d.targets.json", o.Version)] = tufMetadata(role("targets", o.Version, o.Expires, object{"targets": listed}), offline...)
	t.Files[fmt.Sprintf("%d.snapshot.json", o.Version)] = tufMetadata(role("snapshot", o.Version, o.Expires, meta("targets.json")), online)
	t.Files["timestamp.json"] = tufMetadata(role("timestamp", o.Version, o.Expires, meta("snapshot.json")), online)
	return t
}

// tufRoot is what is particular to the root role.
func tufRoot(offline []ed25519.PrivateKey, online ed25519.PrivateKey) map[string]any {
	keys, ids := object{}, []any{}
	for _, k := range offline {
		id, key := tufKey(k)
		keys[id] = key
		ids = append(ids, id)
	}
	onlineID, onlineKey := tufKey(online)
	keys[onlineID] = onlineKey
	byTwo := object{"keyids": ids, "threshold": 2}
	byOne := object{"keyids": []any{onlineID}, "threshold": 1}
	return object{"consistent_snapshot": true, "keys": keys,
		"roles": object{"root": byTwo, "targets": byTwo, "snapshot": byOne, "timestamp": byOne}}
}

// ServeHTTP serves the repository at the root of its URL.
func (t *TUF) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, ok := t.Files[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
}
