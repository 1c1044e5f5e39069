//go:build ignore

// This program derives the files of the folder embedded from the npm package @sigstore/tuf, which carries the
// Sigstore project's own start material for npm's command line client: the newest TUF root, the trusted root
// and the public keys of registry.npmjs.org, base64-encoded in its seeds.json.
//
// Run it with "go generate ./internal/trust". It needs npm on the PATH and reaches the npm registry through it.
//
// Roots are added and never removed: an evidence archive that an earlier release wrote is checked from the
// root which that release embedded. A new root is only added if the older ones lead to it by TUF's rules,
// each version signed by a threshold of the version before it; older releases of the package fill the gaps. For the
// same reason earlier.json keeps the digests of the other files that are replaced.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

const (
	npmPackage = "@sigstore/tuf"
	mirror     = "https://tuf-repo-cdn.sigstore.dev"
	maxSeeds   = 16 << 20
)

// seeds is one mirror's entry in seeds.json. Target names are URL-escaped.
type seeds struct {
	Root    []byte            `json:"root.json"` // encoding/json undoes the base64
	Targets map[string][]byte `json:"targets"`
}

// source is written to source.json: where the embedded files come from.
type source struct {
	Package   string `json:"package"`
	Version   string `json:"version"`
	Integrity string `json:"integrity"`
	Published string `json:"published"`
	Mirror    string `json:"mirror"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("refresh_embedded: ")
	if err := run("embedded"); err != nil {
		log.Fatal(err)
	}
}

func run(dir string) error {
	var info struct {
		Version   string            `json:"version"`
		Integrity string            `json:"dist.integrity"`
		Time      map[string]string `json:"time"`
		Versions  []string          `json:"versions"`
	}
	out, err := npm("", "view", npmPackage+"@latest", "version", "dist.integrity", "time", "versions", "--json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return fmt.Errorf("reading npm's answer about %s: %w", npmPackage, err)
	}
	latest, err := fetchSeeds(info.Version)
	if err != nil {
		return err
	}

	roots, err := readRoots(filepath.Join(dir, "roots"))
	if err != nil {
		return err
	}
	newest, err := version(latest.Root)
	if err != nil {
		return err
	}
	for _, v := range slices.Backward(info.Versions) {
		if _, ok := firstGap(roots, newest); !ok {
			break
		}
		s, err := fetchSeeds(v)
		if err != nil {
			log.Printf("leaving out %s@%s: %v", npmPackage, v, err)
			continue
		}
		n, err := version(s.Root)
		if err != nil {
			return fmt.Errorf("%s@%s: %w", npmPackage, v, err)
		}
		if _, ok := roots[n]; !ok && n <= newest && (len(roots) == 0 || n > oldest(roots)) {
			roots[n] = s.Root
		}
	}
	if gap, ok := firstGap(roots, newest); ok {
		return fmt.Errorf("no release of %s carries root %d, which leads to root %d", npmPackage, gap, newest)
	}
	if err := checkChain(roots); err != nil {
		return err
	}

	src, err := json.MarshalIndent(source{npmPackage, info.Version, info.Integrity, info.Time[info.Version], mirror}, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"source.json": append(src, '\n')}
	for target, name := range map[string]string{
		"trusted_root.json":              "trusted_root.json",
		"registry.npmjs.org%2Fkeys.json": "keys.json",
	} {
		if len(latest.Targets[target]) == 0 {
			return fmt.Errorf("%s@%s has no %s", npmPackage, info.Version, target)
		}
		files[name] = latest.Targets[target]
	}
	if files["earlier.json"], err = addEarlier(dir, files); err != nil {
		return err
	}
	for n, data := range roots {
		files[filepath.Join("roots", strconv.FormatInt(n, 10)+".json")] = data
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	log.Printf("%s@%s: roots %d to %d", npmPackage, info.Version, oldest(roots), newest)
	return nil
}

// addEarlier returns earlier.json with the digests of those files in dir that are about to be replaced.
func addEarlier(dir string, files map[string][]byte) ([]byte, error) {
	earlier := map[string][]string{}
	data, err := os.ReadFile(filepath.Join(dir, "earlier.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	} else if err == nil {
		if err := json.Unmarshal(data, &earlier); err != nil {
			return nil, fmt.Errorf("reading earlier.json: %w", err)
		}
	}
	for _, name := range []string{"keys.json", "trusted_root.json"} {
		old, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(old))
		if err == nil && !bytes.Equal(old, files[name]) && !slices.Contains(earlier[name], sum) {
			earlier[name] = append(earlier[name], sum)
		}
	}
	data, err = json.MarshalIndent(earlier, "", "  ")
	return append(data, '\n'), err
}

// fetchSeeds has npm download one version of the package, integrity checked, and reads its seeds.json.
func fetchSeeds(v string) (*seeds, error) {
	tmp, err := os.MkdirTemp("", "assay-seeds")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out, err := npm(tmp, "pack", npmPackage+"@"+v, "--silent", "--ignore-scripts")
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(tmp, filepath.Base(strings.TrimSpace(string(out)))))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil, errors.New("no seeds.json")
		} else if err != nil {
			return nil, err
		}
		if h.Name != "package/seeds.json" {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(t, maxSeeds))
		if err != nil {
			return nil, err
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, fmt.Errorf("seeds.json: %w", err)
		}
		var s seeds
		if err := json.Unmarshal(all[mirror], &s); err != nil {
			return nil, fmt.Errorf("seeds.json, %s: %w", mirror, err)
		}
		return &s, nil
	}
}

func readRoots(dir string) (map[int64][]byte, error) {
	roots := make(map[int64][]byte)
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		n, err := version(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		roots[n] = data
	}
	return roots, nil
}

// firstGap finds the lowest version that is missing between the oldest root and the newest one.
func firstGap(roots map[int64][]byte, newest int64) (int64, bool) {
	if len(roots) == 0 {
		return newest, true
	}
	for n := oldest(roots); n <= newest; n++ {
		if roots[n] == nil {
			return n, true
		}
	}
	return 0, false
}

func oldest(roots map[int64][]byte) int64 {
	var min int64
	for n := range roots {
		if min == 0 || n < min {
			min = n
		}
	}
	return min
}

// checkChain walks from the oldest root to the newest by TUF's rules.
func checkChain(roots map[int64][]byte) error {
	first := oldest(roots)
	trusted, err := trustedmetadata.New(roots[first])
	if err != nil {
		return fmt.Errorf("root %d: %w", first, err)
	}
	for n := first + 1; roots[n] != nil; n++ {
		if _, err := trusted.UpdateRoot(roots[n]); err != nil {
			return fmt.Errorf("root %d: %w", n, err)
		}
	}
	return nil
}

func version(root []byte) (int64, error) {
	var r struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(root, &r); err != nil {
		return 0, fmt.Errorf("reading a TUF root: %w", err)
	}
	if r.Signed.Version < 1 {
		return 0, errors.New("reading a TUF root: no version")
	}
	return r.Signed.Version, nil
}

func npm(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("npm", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("npm %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
