//go:build unix

package inventory

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// bigYarnLock generates a yarn.lock of about size bytes in the shape and proportions of real ones, of yarn 1 or of
// later versions, which have 280 to 360 bytes for each entry.
func bigYarnLock(size int, berry bool) string {
	var b strings.Builder
	b.Grow(size + 1024)
	if berry {
		b.WriteString("__metadata:\n  version: 8\n  cacheKey: 10c0\n\n")
	} else {
		b.WriteString("# yarn lockfile v1\n\n\n")
	}
	name := func(i int) string {
		if i%5 == 0 {
			return fmt.Sprintf("@scope-%d/package-%d", i%10, i)
		}
		return fmt.Sprintf("package-%d", i)
	}
	last := size/380 - 50
	for i := 0; b.Len() < size; i++ {
		n, version := name(i), fmt.Sprintf("%d.%d.0", i%9, i%20)
		if berry {
			fmt.Fprintf(&b, "\"%s@npm:^1.0.0, %s@npm:^2.0.0\":\n  version: %s\n  resolution: \"%s@npm:%s\"\n", n, n, version, n, version)
		} else {
			fmt.Fprintf(&b, "\"%s@^1.0.0\", \"%s@^2.0.0\":\n  version \"%s\"\n  resolved \"https://registry.yarnpkg.com/%s/-/package-%d-%s.tgz#%040x\"\n  integrity sha512-%086d==\n", n, n, version, n, i, version, i, i)
		}
		for j := 1; j <= i%3; j++ {
			if j == 1 {
				b.WriteString("  dependencies:\n")
			}
			to := name(min((i/4+1)*4*j/5*4+j, last+10*j))
			if berry {
				fmt.Fprintf(&b, "    \"%s\": \"npm:^%d.0.0\"\n", to, j)
			} else {
				fmt.Fprintf(&b, "    \"%s\" \"^%d.0.0\"\n", to, j)
			}
		}
		if berry {
			fmt.Fprintf(&b, "  checksum: 10c0/%0128x\n  languageName: node\n  linkType: hard\n", i)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// worstYarnLocks are lockfiles made to cost more than their size.
func worstYarnLocks(size int) map[string]map[string]string {
	cases := map[string]map[string]string{
		"ordinary classic": {"yarn.lock": bigYarnLock(size, false)},
		"ordinary berry":   {"yarn.lock": bigYarnLock(size, true)},
	}
	add := func(name, head, manifest string, entry func(i int) string) {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size; i++ {
			b.WriteString(entry(i))
		}
		cases[name] = map[string]string{"yarn.lock": b.String()}
		if manifest != "" {
			cases[name]["package.json"] = manifest
		}
	}
	const meta = "__metadata:\n  version: 8\n"
	add("classic tiny entries", "", "", func(i int) string { return fmt.Sprintf("a%d@1:\n  version \"1.0.0\"\n", i) })
	add("classic one key of many descriptors", "", "", func(i int) string {
		switch {
		case i == 0:
			return "a@0"
		case i == 1_200_000:
			return ":\n  version \"1.0.0\"\n"
		case i > 1_200_000:
			return "\n"
		}
		return fmt.Sprintf(", a@%x", i)
	})
	add("classic one key of many names", "", "", func(i int) string {
		if i == 0 {
			return "a"
		}
		return fmt.Sprintf(",a%x", i)
	})
	add("classic many edges", "", "", func(i int) string {
		var d strings.Builder
		fmt.Fprintf(&d, "a%d@1:\n  version \"1\"\n  dependencies:\n", i)
		for j := range 36 * 36 {
			fmt.Fprintf(&d, "    a%c%c a\n", "abcdefghijklmnopqrstuvwxyz0123456789"[j/36], "abcdefghijklmnopqrstuvwxyz0123456789"[j%36])
		}
		return d.String()
	})
	add("classic chain", "", `{"dependencies": {"a0": "1"}}`, func(i int) string {
		return fmt.Sprintf("a%d@1:\n  version \"1.0.0\"\n  resolved \"https://registry.yarnpkg.com/a/-/a-1.0.0.tgz\"\n  dependencies:\n    a%d \"1\"\n", i, i+1)
	})
	var rules strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&rules, `, "x%d/a": "%d"`, i, i)
	}
	add("classic one name and many resolutions", "", `{"resolutions": {`+rules.String()[1:]+`}}`, func(i int) string {
		return fmt.Sprintf("a@^%d:\n  version \"1.0.0\"\n  resolved \"https://registry.yarnpkg.com/a/-/a-1.0.0.tgz\"\n  dependencies:\n    a \"^%d\"\n", i, i+1)
	})
	add("classic huge line", "", "", func(i int) string {
		if i == 0 {
			return "a@1:\n  version \"1.0.0\"\n  resolved \""
		}
		return "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	})
	add("classic the same descriptor", "", "", func(i int) string {
		return "a@1:\n  version \"1.0.0\"\n  resolved \"https://registry.yarnpkg.com/a/-/a-1.0.0.tgz\"\n"
	})
	add("berry tiny entries", meta, "", func(i int) string {
		return fmt.Sprintf("a@%d:\n  resolution: a@npm:%d.0.0\n  version: %d.0.0\n", i, i, i)
	})
	add("berry patches of one", meta+"a@npm:1:\n  version: 1.0.0\n  resolution: a@npm:1.0.0\n", "", func(i int) string {
		return fmt.Sprintf("a@patch:a@npm%%3A%d#x:\n  version: 1.0.0\n  resolution: \"a@patch:a@npm%%3A1.0.0#x%d\"\n  dependencies:\n    b%d: 1\n", i, i, i)
	})
	add("berry chain of patches", meta+"a@npm:1:\n  version: 1.0.0\n  resolution: a@npm:1.0.0\n", "", func(i int) string {
		return fmt.Sprintf("a@patch:x%d:\n  version: 1.0.0\n  resolution: \"a@patch:a@patch%%3Ax%d::y\"\n", i, i+1)
	})
	add("berry workspaces", meta, `{"workspaces": ["*/a*b*c", "**/x", "!**/y"]}`, func(i int) string {
		return fmt.Sprintf("a%d@workspace:a/b/%d:\n  version: 0.0.0-use.local\n  resolution: a%d@workspace:a/b/%d\n", i, i, i, i)
	})
	add("berry bound", meta, "", func(i int) string {
		return fmt.Sprintf("\"a@link:x::locator=%d\":\n  version: 1.0.0\n  resolution: \"a@link:x::locator=%d\"\n", i, i)
	})
	add("berry catalog", meta, `{"dependencies": {"a1": "1"}}`, func(i int) string {
		return fmt.Sprintf("a%d@npm:1:\n  version: 1.0.0\n  resolution: a%d@npm:1.0.0\n  dependencies:\n    b%d: \"catalog:\"\n", i, i, i)
	})
	return cases
}

// No yarn.lock may cost more than one second for 10 MB, or more than 20 times its size in memory.
func TestYarnWorstCases(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	const size = 10 << 20
	for name, texts := range worstYarnLocks(size) {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			fsys := files(texts)
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			stop := make(chan struct{})
			highest := peak(stop)
			start, clock := cpu(t), time.Now()
			p, err := OpenFS(fsys, ".", Options{})
			took, wall := cpu(t)-start, time.Since(clock)
			close(stop)
			used := float64(int64(<-highest-before.HeapAlloc)) / size
			t.Logf("%v of processor time, %v by the clock, %.1f times the size in memory, error %v", took.Round(time.Millisecond), wall.Round(time.Millisecond), used, err)
			if took > 8*time.Second { // collecting garbage eagerly costs time as well, and so does the race detector
				t.Errorf("took %v", took)
			}
			if used > 20 {
				t.Errorf("used %.1f times the size in memory", used)
			}
			runtime.KeepAlive(p)
		})
	}
}
