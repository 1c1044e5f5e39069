// Package page opens the HTML report in a real browser: it makes no request, can be used by keyboard and without
// scripts, and has nothing that an accessibility checker objects to.
package page

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const project = "../.."

// sample makes the pages once: those that internal/report's own tests are about.
var sample = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "assay-pages-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "test", "-count=1", "-run", "^TestPages$", "./internal/report", "-args", "-pages", dir)
	cmd.Dir = project
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making the pages: %w\n%s", err, out)
	}
	return dir, nil
})

var browser context.Context

func TestMain(m *testing.M) {
	path := ""
	for _, name := range []string{os.Getenv("ASSAY_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if found, err := exec.LookPath(name); name != "" && err == nil {
			path = found
			break
		}
	}
	if path == "" {
		fmt.Println("skipped: there is no Chromium here (apt-get install chromium, or ASSAY_CHROMIUM=PATH)")
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("hide-scrollbars", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which does not work as root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	err := chromedp.Do(ctx)
	code := 1
	if err != nil {
		fmt.Println("starting", path+":", err)
	} else {
		browser = ctx
		code = m.Run()
	}
	cancel()
	stop()
	if dir, err := sample(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// view is how a page is opened.
type view struct {
	page   string
	width  int64
	dark   bool
	silent bool // without scripts
}

// A tab is a page that is open in the browser.
type tab struct {
	t   *testing.T
	ctx context.Context
	mu  sync.Mutex
	// complaints are requests, errors and dialogs; the page is to have none.
	complaints []string
}

func open(t *testing.T, v view) *tab {
	t.Helper()
	dir, err := sample()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(browser)
	ctx, cancelTime := context.WithTimeout(ctx, 3*time.Minute)
	tb := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		cancelTime()
		cancel()
	})
	address := "file://" + filepath.Join(dir, v.page+".html")
	if err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			if ev.Request.URL != address && ev.Request.URL != "data:," {
				tb.complain("a request: %s", ev.Request.URL)
			}
		case *cdplog.EventEntryAdded:
			tb.complain("%s: %s %s", ev.Entry.Level, ev.Entry.Text, ev.Entry.URL)
		case *runtime.EventConsoleAPICalled:
			tb.complain("the console: %s", ev.Type)
		case *runtime.EventExceptionThrown:
			tb.complain("an exception: %v", ev.ExceptionDetails)
		case *cdppage.EventJavascriptDialogOpening:
			tb.complain("a dialog: %s", ev.Message)
			go chromedp.Call(ctx, cdppage.HandleJavaScriptDialog, cdppage.HandleJavaScriptDialogParams{})
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(tb, network.Enable, network.EnableParams{})
	call(tb, cdplog.Enable, cdp.Empty{})
	call(tb, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	call(tb, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: v.width, Height: 900, DeviceScaleFactor: 1, Mobile: v.width < 600})
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	call(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(tb, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.silent})
	tb.run(chromedp.Navigate(address))
	return tb
}

// call gives a command of the browser's protocol.
func call[P, R any](tb *tab, command cdp.Command[P, R], params P) {
	tb.t.Helper()
	if _, err := chromedp.Call(tb.ctx, command, params); err != nil {
		tb.t.Fatal(err)
	}
}

func (tb *tab) complain(format string, args ...any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.complaints = append(tb.complaints, fmt.Sprintf(format, args...))
}

// quiet fails the test if the page did anything that it should not.
func (tb *tab) quiet() {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, c := range tb.complaints {
		tb.t.Error(c)
	}
	tb.complaints = nil
}

func (tb *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	if err := chromedp.Do(tb.ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// eval returns what a JavaScript expression gives.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatal(err)
	}
	return v
}

// wait waits until a JavaScript expression is true.
func (tb *tab) wait(expression string) {
	tb.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if eval[bool](tb, expression) {
			return
		}
	}
	tb.t.Fatalf("this did not come true: %s; the focus is on %s", expression,
		eval[string](tb, `document.activeElement.outerHTML.slice(0, 200)`))
}

func (tb *tab) expect(expression, want string) {
	tb.t.Helper()
	if got := eval[string](tb, "String("+expression+")"); got != want {
		tb.t.Errorf("%s is %q, want %q", expression, got, want)
	}
}

// shoot writes a picture of the page where ASSAY_PICTURES names a directory for them.
func (tb *tab) shoot(name string) {
	dir := os.Getenv("ASSAY_PICTURES")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		tb.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		tb.t.Fatal(err)
	}
}

var axe = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile("npm/node_modules/axe-core/axe.min.js")
	return string(data), err
})

// accessible lets axe-core look at the page.
func (tb *tab) accessible() {
	tb.t.Helper()
	script, err := axe()
	if err != nil {
		tb.t.Fatalf("axe-core is missing (npm ci --prefix e2e/page/npm): %v", err)
	}
	// It needs timers. The page's own scripts have had their time.
	call(tb, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false})
	eval[chromedp.Void](tb, script)
	result := eval[string](tb, `axe.run(document, {preload: false, resultTypes: ['violations'],
		runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then((r) => JSON.stringify(r.violations.map((v) =>
		({id: v.id, help: v.help, at: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + ' :: ' + n.failureSummary), n: v.nodes.length}))))`)
	var violations []struct {
		ID, Help string
		At       []string
		N        int
	}
	if err := json.Unmarshal([]byte(result), &violations); err != nil {
		tb.t.Fatal(err)
	}
	for _, v := range violations {
		tb.t.Errorf("axe-core: %s (%s), %d times, such as\n%s", v.ID, v.Help, v.N, strings.Join(v.At, "\n"))
	}
}

// fits fails where the page is wider than its window (WCAG 2.2, 1.4.10 Reflow).
func (tb *tab) fits() {
	tb.t.Helper()
	if wide := eval[string](tb, `document.scrollingElement.scrollWidth <= innerWidth ? '' : document.scrollingElement.scrollWidth + ' of ' + innerWidth + ' ' +
		Array.from(document.querySelectorAll('body *')).filter((e) => e.getBoundingClientRect().right > innerWidth).slice(0, 5).map((e) => e.outerHTML.slice(0, 120)).join('\n')`); wide != "" {
		tb.t.Errorf("the page is wider than the window: %s", wide)
	}
}

const (
	openAll = `document.querySelectorAll('details').forEach((d) => { d.open = true; })`
	// The first package of each block stands for the others, which have the same elements: axe-core takes its time.
	openMost = `document.querySelectorAll('details:not(.p)').forEach((d) => { d.open = true; });
		document.querySelectorAll('.p').forEach((p) => { p.open = p === p.parentElement.querySelector('.p'); })`
)

// TestAccessible looks at pages in both colour schemes and at several widths, as they open and with everything
// opened, with scripts and without.
func TestAccessible(t *testing.T) {
	for _, tt := range []struct {
		view
		all bool // with everything opened, too
	}{
		{view{page: "grown", width: 1280}, true}, {view{page: "grown", width: 390, dark: true}, true}, {view{page: "grown", width: 320, silent: true}, true},
		{view{page: "grown", width: 1280, dark: true}, false}, {view{page: "grown", width: 390}, false}, {view{page: "clean", width: 1280}, false},
		{view{page: "ruled", width: 1280, dark: true}, false}, {view{page: "empty", width: 390}, false},
	} {
		name := fmt.Sprintf("%s-%d", tt.page, tt.width)
		if tt.dark {
			name += "-dark"
		}
		if tt.silent {
			name += "-silent"
		}
		t.Run(name, func(t *testing.T) {
			tb := open(t, tt.view)
			tb.shoot(name)
			tb.fits()
			tb.accessible()
			if tt.all {
				eval[chromedp.Void](tb, openMost)
				tb.shoot(name + "-open")
				tb.fits()
				tb.accessible()
			}
			tb.quiet()
		})
	}
}

// TestFits opens everything of a page whose texts are as long as they get.
func TestFits(t *testing.T) {
	for _, width := range []int64{320, 390, 1280} {
		tb := open(t, view{page: "hostile", width: width})
		eval[chromedp.Void](tb, openAll)
		tb.fits()
		tb.quiet()
	}
}

// TestWithoutScripts: all that the report holds can be read.
func TestWithoutScripts(t *testing.T) {
	tb := open(t, view{page: "grown", width: 1280, silent: true})
	tb.expect(`document.getElementById('filter').checkVisibility()`, "false")
	tb.expect(`document.querySelectorAll('.p').length`, "40")
	// A link from the tree leads into a package that is folded away.
	tb.run(chromedp.Click(chromedp.CSS(`#tree ~ ul a.to[href="#p37"]`)))
	tb.expect(`location.hash`, "#p37")
	tb.run(chromedp.Click(`//summary[b[text()="sigstore@2.0.0"]]`))
	tb.expect(`document.querySelector('.p[open] .more') !== null`, "true")
	eval[chromedp.Void](tb, openAll)
	// Rows of its own and rows that it shares make 18 for every package.
	tb.expect(`Array.from(document.querySelectorAll('.p')).filter((p) => p.dataset.v !== 'other').every((p) => {
		const more = p.querySelector('.more a');
		return p.querySelectorAll('.matrix tbody tr').length + (more ? document.querySelectorAll(more.hash + ' tbody tr').length : 0) === 18 })`, "true")
	tb.quiet()
}

// slash presses the key as a browser tells it where a page keeps the character from being typed.
func (tb *tab) slash() {
	tb.t.Helper()
	call(tb, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeRawKeyDown, Key: "/", Code: "Slash"})
	call(tb, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: "/", Code: "Slash"})
	tb.expect(`document.getElementById('q').value`, "")
}

// TestByKeyboard searches, filters and walks the tree with keys alone.
func TestByKeyboard(t *testing.T) {
	tb := open(t, view{page: "grown", width: 1280})
	visible := `Array.from(document.querySelectorAll('.p')).filter((p) => !p.hidden).map((p) => p.querySelector('b').textContent).join(' ')`
	tb.run(chromedp.KeyEvent(kb.Tab))
	tb.expect(`document.activeElement.textContent`, "Skip to the packages")
	tb.slash()
	tb.expect(`document.activeElement.id`, "q")
	tb.run(chromedp.KeyEvent("sigstore-js bundle"))
	tb.wait(`document.getElementById('shown').textContent === '1 of 40 are shown.'`)
	tb.expect(visible, "@sigstore/bundle@1.1.0")
	tb.expect(`document.querySelectorAll('.group:not([hidden])').length`, "1")
	tb.shoot("searched")
	tb.accessible()
	tb.run(chromedp.KeyEvent(kb.Escape))
	tb.wait(`document.getElementById('shown').textContent === 'All 40 are shown.'`)

	tb.run(chromedp.KeyEvent(kb.Tab))
	tb.expect(`document.activeElement.id`, "v")
	tb.run(chromedp.KeyEvent("inv"))
	tb.wait(`document.getElementById('v').value === 'invalid'`)
	tb.wait(`document.getElementById('shown').textContent === '4 of 40 are shown.'`)
	tb.run(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("no"))
	tb.wait(`document.getElementById('shown').textContent === 'Nothing is like that.'`)
	tb.run(chromedp.KeyEvent("\b"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(" "))
	tb.expect(`document.activeElement.checked`, "true")
	tb.run(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	tb.wait(`document.getElementById('shown').textContent === 'All 40 are shown.'`)

	// The matrix of a package is completed in its order when it is opened.
	tb.run(chromedp.Focus(`//summary[b[text()="sigstore@2.0.0"]]`), chromedp.KeyEvent(kb.Enter))
	tb.wait(`document.activeElement.parentElement.querySelectorAll('tbody tr').length === 18`)
	tb.expect(`Array.from(document.activeElement.parentElement.querySelectorAll('tbody tr'), (r) => r.dataset.n).join()`, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17")

	// The tree.
	at := `document.activeElement.textContent.split('@')[0]`
	eval[chromedp.Void](tb, `document.querySelector('.tree summary').focus()`)
	for _, step := range []struct{ key, want string }{
		{kb.ArrowDown, ""}, {kb.ArrowDown, "app-utils"}, {kb.ArrowRight, "app-utils"}, {kb.ArrowRight, "ci-tool"}, {kb.ArrowLeft, "app-utils"},
		{kb.ArrowLeft, "app-utils"}, {kb.ArrowDown, "downloaded"}, {kb.ArrowUp, "app-utils"}, {kb.Home, "app"},
	} {
		tb.run(chromedp.KeyEvent(step.key))
		if step.want != "" {
			tb.expect(at, step.want)
		}
	}
	tb.run(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.ArrowDown))
	tb.expect(at, "downloaded")
	// The link of a leaf leads to its package, in a browser too that takes the focus away after the page has set it.
	eval[chromedp.Void](tb, `addEventListener('hashchange', () => document.activeElement.blur(), { once: true })`)
	tb.run(chromedp.KeyEvent(kb.Enter))
	tb.wait(`document.activeElement.localName === 'summary' && document.activeElement.textContent.startsWith('downloaded@') && document.activeElement.parentElement.open`)
	tb.expect(`document.activeElement.getBoundingClientRect().top >= 0 && document.activeElement.getBoundingClientRect().bottom <= innerHeight`, "true")
	tb.shoot("revealed")

	// A search shows the lines of the tree that lead to what it finds, and no others.
	tb.slash()
	tb.run(chromedp.KeyEvent("gone-too"))
	tb.wait(`document.getElementById('shown').textContent === '1 of 40 are shown.'`)
	tb.expect(`Array.from(document.querySelectorAll('.tree li')).filter((li) => li.checkVisibility()).map((li) => li.querySelector('a:not(.to), b').textContent).join(' ')`,
		"app@1.0.0 sigstore@2.0.0 @sigstore/bundle@1.1.0 gone@1.1.0 gone-too@1.1.0")
	tb.run(chromedp.KeyEvent(kb.Escape))
	tb.wait(`document.getElementById('shown').textContent === 'All 40 are shown.'`)
	tb.expect(`document.querySelectorAll('.tree details[open]').length`, "1")
	tb.quiet()
}

// TestHostile: what a registry sends stays text, and leads nowhere but to https.
func TestHostile(t *testing.T) {
	for _, silent := range []bool{false, true} {
		tb := open(t, view{page: "injected", width: 1280, silent: silent})
		eval[chromedp.Void](tb, openAll)
		if !silent {
			tb.slash()
			tb.run(chromedp.KeyEvent("onerror"))
			tb.wait(`document.getElementById('shown').textContent !== ''`)
		}
		tb.expect(`typeof window.owned`, "undefined")
		tb.expect(`document.querySelectorAll('img, iframe, object, embed, base, math, template, marquee, body script:not(:last-of-type), [onerror], [onload], [onclick], [style]').length`, "0")
		tb.expect(`document.scripts.length + ' ' + document.querySelectorAll('style').length + ' ' + document.querySelectorAll('link').length`, "1 1 1")
		tb.expect(`Array.from(document.links).filter((a) => !a.getAttribute('href').startsWith('#') && a.protocol !== 'https:').length`, "0")
		tb.quiet()
	}
}

// TestBig: a report of 5,000 packages opens, filters and unfolds at once.
func TestBig(t *testing.T) {
	dir, err := sample()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "big.html"))
	if err != nil {
		t.Fatal(err)
	}
	tb := open(t, view{page: "big", width: 1280})
	// Time of the processor and not of the clock: other tests run beside this one.
	before := 0.0
	spent := func(what, expression string, limit float64) {
		t.Helper()
		eval[chromedp.Void](tb, `new Promise((done) => { `+expression+`; requestAnimationFrame(() => setTimeout(done)) })`)
		metrics, err := chromedp.Call(tb.ctx, performance.GetMetrics, cdp.Empty{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metrics.Metrics {
			if m.Name == "TaskDuration" {
				t.Logf("%s: %.0f ms", what, (m.Value-before)*1000)
				if m.Value-before > limit {
					t.Errorf("%s takes %.1f s", what, m.Value-before)
				}
				before = m.Value
			}
		}
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	spent("opening", ``, 2)
	spent("searching", `const q = document.getElementById('q'); q.value = 'package-4321'; q.form.requestSubmit()`, 1)
	tb.expect(`document.getElementById('shown').textContent`, "1 of 5,000 are shown.")
	tb.fits()
	tb.shoot("big")
	spent("showing all again", `const q = document.getElementById('q'); q.value = ''; q.form.requestSubmit()`, 1)
	spent("unfolding", `document.querySelectorAll('.fold').forEach((d) => { d.open = true; })`, 2)
	spent("opening the tree", `document.getElementById('openall').click()`, 3)
	tb.fits()
	tb.quiet()
}
