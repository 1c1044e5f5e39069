package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// keeper runs a program and ends it, by its own number, when standard input ends: that is when the program which
// started it closes its end of the pipe, or has died in whatever way.
const keeper = `
"$@" </dev/null &
child=$!
echo "$child" >"$PID_FILE"
read -r _
kill "$child" 2>/dev/null
i=0
while kill -0 "$child" 2>/dev/null && [ "$i" -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
kill -9 "$child" 2>/dev/null
wait "$child" 2>/dev/null
exit 0`

// A process is a running service.
type process struct {
	name  string
	log   string
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{}
}

// start runs a program of the stack in its directory.
func (s *Stack) start(name string, env []string, program string, args ...string) error {
	p := &process{name: name, log: filepath.Join(s.dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", keeper, "sh", filepath.Join(s.bin, program)}, args...)...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = s.dir, out, out
	for _, v := range os.Environ() { // the user's own proxy must not come between the services
		if name, _, _ := strings.Cut(v, "="); !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(append(p.cmd.Env, "PID_FILE="+filepath.Join(s.dir, name+".pid")), env...)
	// A signal of the terminal is for the program that started it: the keeper has to be there until the end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait() // how it ended is in the log
	}()
	s.processes = append(s.processes, p)
	return nil
}

// end ends the process and waits for it.
func (p *process) end() {
	p.stdin.Close()
	<-p.done
}

// await polls until check is content, and else says what the process wrote last.
func (s *Stack) await(ctx context.Context, name string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, name+".log"))
			return fmt.Errorf("%s does not answer: %w; it wrote last:\n%s", name, err, log[max(0, len(log)-2000):])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers is a check that an address answers 200.
func answers(url string) func() error {
	return func() error {
		res, err := http.Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, res.Status)
		}
		return nil
	}
}

// present is a check that a file is there, and keeps its content.
func present(file string, content *string) func() error {
	return func() error {
		data, err := os.ReadFile(file)
		*content = string(bytes.TrimSpace(data))
		return err
	}
}

// freePorts finds ports on 127.0.0.1 that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // all are held until the last one is found
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
