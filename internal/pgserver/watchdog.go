package pgserver

import (
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/postroom/postroom/internal/fault"
)

// watchdogScript reads the server's process id, then waits for "done". When the pipe ends without it, we are dead: it
// shuts the server down, and removes what was named. It signals a process only while that works in the cluster's folder.
const watchdogScript = `data=$1
shift
read -r pid || exit 0
read -r word
[ "$word" = done ] && exit 0
ours() { [ ! -e /proc/self/cwd ] || [ "/proc/$pid/cwd" -ef "$data" ]; }
signal=INT
[ $# -gt 0 ] && signal=QUIT
n=0
while ours && kill -s $signal "$pid" 2>/dev/null && [ $n -lt 600 ]; do
  sleep 0.1
  n=$((n + 1))
  [ $n -gt 300 ] && signal=QUIT
done
[ $# -gt 0 ] && rm -rf -- "$@"
exit 0
`

// watchdog is a small shell that outlives us for as long as it takes to stop the server.
type watchdog struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startWatchdog(data string, trash []string) (*watchdog, error) {
	args := append([]string{"-c", watchdogScript, "postroom-watchdog", data}, trash...)
	cmd := exec.Command("/bin/sh", args...) //nolint:noctx // it must live on when we end
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fault.New(fault.Permanent, "postgres_failed", "PostgreSQL needs /bin/sh.", fmt.Errorf("start the watchdog: %w", err))
	}
	return &watchdog{cmd: cmd, in: in}, nil
}

// watch tells it which process to stop.
func (w *watchdog) watch(pid int) {
	_, _ = io.WriteString(w.in, strconv.Itoa(pid)+"\n") // if it is gone, stopStale does its work at the next start
}

// dismiss ends it. The server must be gone.
func (w *watchdog) dismiss() {
	_, _ = io.WriteString(w.in, "done\ndone\n") // the first may be read as a process id
	_ = w.in.Close()
	_ = w.cmd.Wait()
}
