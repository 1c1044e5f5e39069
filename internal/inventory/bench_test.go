//go:build unix

package inventory

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bigLockfile generates a lockfile of about size bytes in the shape and proportions of real ones, which have 330 to 510
// bytes for each entry: with resolved, integrity, engines and a few dependencies, a tenth of them nested.
func bigLockfile(size int) []byte {
	var b strings.Builder
	b.Grow(size + 1024)
	b.WriteString("{\n  \"name\": \"app\",\n  \"lockfileVersion\": 3,\n  \"requires\": true,\n  \"packages\": {\n    \"\": {\n      \"name\": \"app\",\n      \"dependencies\": {\n        \"package-0\": \"^1.0.0\"\n      }\n    }")
	last := size/470 - 50
	for i := 0; b.Len() < size; i++ {
		where := fmt.Sprintf("node_modules/package-%d", i)
		if i%10 == 9 {
			where = fmt.Sprintf("node_modules/package-%d/node_modules/package-%d", i-1, i/2)
		}
		fmt.Fprintf(&b, ",\n    %q: {\n      \"version\": \"%d.%d.0\",\n      \"resolved\": \"https://registry.npmjs.org/package-%d/-/package-%d-%d.%d.0.tgz\",\n      \"integrity\": \"sha512-%086d==\",\n      \"license\": \"MIT\",\n      \"dependencies\": {\n", where, i%9, i%20, i, i, i%9, i%20, i)
		count := 1 + i%3
		for j := 1; j <= count; j++ {
			to := min((i/4+1)*4*j/5*4+j, last+10*j) // further on, but listed, and not one of the nested ones
			if to%10 == 9 {
				to--
			}
			fmt.Fprintf(&b, "        \"package-%d\": \"^%d.0.0\"", to, j)
			if j < count {
				b.WriteString(",\n")
			}
		}
		b.WriteString("\n      },\n      \"engines\": {\n        \"node\": \">=18\"\n      }\n    }")
	}
	b.WriteString("\n  }\n}\n")
	return []byte(b.String())
}

// BenchmarkOpen50MB reads a file of 50 MB of each format. It reports, beside the time by the clock, the processor time
// with that for collecting garbage, and the most that the heap held at once as a multiple of the file's size. The aim
// is two seconds, and 20 times the size. Each alone, on a machine with nothing else to do:
//
//	go test -run '^$' -bench Open50MB/yarn-1 -benchtime 5x ./internal/inventory
func BenchmarkOpen50MB(b *testing.B) {
	const size = 50 << 20
	for _, format := range []struct {
		name, file string
		text       func() string
	}{
		{"npm-1", "package-lock.json", func() string { return bigLegacyLockfile(size) }},
		{"npm-3", "package-lock.json", func() string { return string(bigLockfile(size)) }},
		{"pnpm-9", pnpmLockfile, func() string { return bigPnpm(size) }},
		{"yarn-1", "yarn.lock", func() string { return bigYarnLock(size, false) }},
		{"yarn-4", "yarn.lock", func() string { return bigYarnLock(size, true) }},
		{"bun", "bun.lock", func() string { return string(bigDocument("bun.lock", size)) }},
		{"cyclonedx-json", "cdx.json", func() string { return string(bigDocument("cdx.json", size)) }},
		{"cyclonedx-xml", "cdx.xml", func() string { return string(bigDocument("cdx.xml", size)) }},
		{"spdx-json", "spdx.json", func() string { return string(bigDocument("spdx.json", size)) }},
	} {
		b.Run(format.name, func(b *testing.B) {
			fsys := files(map[string]string{format.file: format.text()})
			open := func() *Project {
				p, err := OpenFS(fsys, format.file, Options{})
				if err != nil {
					b.Fatal(err)
				}
				return p
			}
			before := cpu(b)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				open()
			}
			b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/op")
			highest, p := highestHeap(open)
			b.ReportMetric(float64(highest)/size, "×size")
			b.ReportMetric(float64(len(p.Packages)), "packages")
		})
	}
}

// highestHeap is how much more the heap holds while open runs than before, at most. Garbage is collected eagerly.
func highestHeap(open func() *Project) (bytes uint64, p *Project) {
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop := make(chan struct{})
	highest := peak(stop)
	p = open()
	close(stop)
	return max(<-highest, before.HeapAlloc) - before.HeapAlloc, p
}

// bigLegacyLockfile is bigLockfile in version 1, where an entry has about 310 bytes.
func bigLegacyLockfile(size int) string {
	var b strings.Builder
	b.Grow(size + 1024)
	b.WriteString("{\n  \"name\": \"app\",\n  \"lockfileVersion\": 1,\n  \"requires\": true,\n  \"dependencies\": {")
	last := size/310 - 50
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    \"package-%d\": {\n      \"version\": \"1.%d.0\",\n      \"resolved\": \"https://registry.npmjs.org/package-%d/-/package-%d-1.%d.0.tgz\",\n      \"integrity\": \"sha512-%086d==\",\n      \"requires\": {\n        \"package-%d\": \"^1.0.0\",\n        \"package-%d\": \"^1.0.0\"\n      }\n    }",
			i, i%9, i, i, i%9, i, min(2*i+1, last), min(2*i+2, last+1))
	}
	b.WriteString("\n  }\n}\n")
	return b.String()
}

// worstCases are lockfiles made to cost more than their size.
func worstCases(size int) map[string]string {
	cases := map[string]string{"ordinary": string(bigLockfile(size))}
	add := func(name, head, tail string, entry func(i int) string) {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size; i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(entry(i))
		}
		b.WriteString(tail)
		cases[name] = b.String()
	}
	v3 := `{"lockfileVersion":3,"packages":{`
	add("tiny entries", v3, `}}`, func(i int) string { return fmt.Sprintf(`"node_modules/%d":{"version":"1.0.0"}`, i) })
	add("tiny directories", v3+`"":{"workspaces":["*/a*b*c","**/x"]},`, `}}`, func(i int) string { return fmt.Sprintf(`"a%d":{}`, i) })
	add("many edges", v3+`"node_modules/a":{"version":"1.0.0","dependencies":{`, `}}}}`, func(i int) string { return fmt.Sprintf(`"%d":""`, i) })
	add("chain", v3+`"":{"dependencies":{"0":""}},`, `}}`, func(i int) string {
		return fmt.Sprintf(`"node_modules/%d":{"version":"1.0.0","dependencies":{"%d":""}}`, i, i+1)
	})
	add("one name everywhere", v3, `}}`, func(i int) string {
		return fmt.Sprintf(`"node_modules/%d":{"version":"1.0.0","dependencies":{"x":""}},"node_modules/%d/node_modules/x":{"version":"1.0.0"}`, i, i)
	})
	deep := func(i int) string {
		return strings.Repeat("node_modules/a/", i%maxNesting) + fmt.Sprintf("node_modules/b%d", i/maxNesting)
	}
	add("deep", v3, `}}`, func(i int) string { return fmt.Sprintf(`%q:{"version":"1.0.0"}`, deep(i)) })
	add("deep edges", v3, `}}`, func(i int) string {
		var d strings.Builder
		for j := range 60 {
			fmt.Fprintf(&d, `,"b%d":""`, (i+j)/maxNesting+j)
		}
		return fmt.Sprintf(`%q:{"version":"1.0.0","dependencies":{%s}}`, deep(i), d.String()[1:])
	})
	add("skipped nesting", v3, `}}`, func(i int) string {
		return fmt.Sprintf(`"node_modules/%d":{"version":"1.0.0","x":%s%s}`, i, strings.Repeat("[", 5000), strings.Repeat("]", 5000))
	})
	add("many bad links", v3, `}}`, func(i int) string { return fmt.Sprintf(`"node_modules/%d":{"link":true,"resolved":"x"}`, i) })
	add("bundles", v3+`"node_modules/a":{"version":"1.0.0","bundleDependencies":["x"]},`, `}}`, func(i int) string {
		return fmt.Sprintf(`"node_modules/a/node_modules/%d":{"version":"1.0.0","inBundle":true,"bundleDependencies":["x"]}`, i)
	})
	add("version 1", `{"lockfileVersion":1,"dependencies":{`, `}}`, func(i int) string { return fmt.Sprintf(`"%d":{"version":"1.0.0"}`, i) })
	add("version 1 short names", `{"lockfileVersion":1,"dependencies":{`, `}}`, func(i int) string {
		var d strings.Builder
		for j := range 36 * 36 {
			fmt.Fprintf(&d, `,"%c%c":{"version":"1.0.0"}`, "abcdefghijklmnopqrstuvwxyz0123456789"[j/36], "abcdefghijklmnopqrstuvwxyz0123456789"[j%36])
		}
		return fmt.Sprintf(`"%d":{"version":"1.0.0","dependencies":{%s}}`, i, d.String()[1:])
	})
	add("short edges", v3, `}}`, func(i int) string {
		var d strings.Builder
		for j := range 36 * 36 {
			fmt.Fprintf(&d, `,"%c%c":""`, "abcdefghijklmnopqrstuvwxyz0123456789"[j/36], "abcdefghijklmnopqrstuvwxyz0123456789"[j%36])
		}
		return fmt.Sprintf(`"node_modules/%d":{"version":"1.0.0","dependencies":{%s}}`, i, d.String()[1:])
	})
	nest := 60
	add("version 1 deep", `{"lockfileVersion":1,"dependencies":{`+strings.Repeat(`"`+strings.Repeat("n", 200)+`":{"version":"1.0.0","dependencies":{`, nest), strings.Repeat(`}}`, nest)+`}}`,
		func(i int) string { return fmt.Sprintf(`"%d":{"version":"1.0.0"}`, i) })
	add("overlong keys", v3, `}}`, func(i int) string {
		return fmt.Sprintf(`"%s/node_modules/%d":{"version":"1.0.0"}`, strings.Repeat("a/", 280)+"x", i)
	})
	return cases
}

// cpu is the processor time that the process used: unlike the clock it does not count other processes.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak watches the live heap until stop is closed and sends the highest value seen.
func peak(stop <-chan struct{}) <-chan uint64 {
	result := make(chan uint64)
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		var highest uint64
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-tick.C:
				metrics.Read(sample)
				highest = max(highest, sample[0].Value.Uint64())
			case <-stop:
				tick.Stop()
				result <- highest
				return
			}
		}
	}()
	return result
}

// No lockfile may cost more than one second for 10 MB, or more than 20 times its size in memory.
func TestWorstCases(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	const size = 10 << 20
	for name, text := range worstCases(size) {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			fsys := files(map[string]string{"package-lock.json": text})
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
			// Collecting garbage eagerly, so that memory can be measured, costs time as well; so does the race detector.
			if took > 8*time.Second {
				t.Errorf("took %v", took)
			}
			if used > 20 {
				t.Errorf("used %.1f times the size in memory", used)
			}
			runtime.KeepAlive(p)
		})
	}
}
