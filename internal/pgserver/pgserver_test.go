package pgserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgserver"
)

// limit bounds everything that a test waits for.
const limit = time.Minute

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) //nolint:usetesting // cleanups call it too, when the test's own has ended
	t.Cleanup(cancel)
	return ctx
}

// shortDir returns the folder in memory that Linux has, or /tmp: short enough for a socket's name.
func shortDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return "/tmp"
}

// folder returns a new folder that PostgreSQL's user may reach; t.TempDir's parents are closed to it as root.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(shortDir(), "postroom-pgserver-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil { // as prepareDir does
		t.Fatal(err)
	}
	return dir
}

func needPostgres(t *testing.T) {
	t.Helper()
	if _, err := pgserver.Find(); err != nil {
		_, _, text, hint := fault.Describe(err)
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s. %s", text, hint)
		}
		t.Skipf("%s. %s", text, hint)
	}
}

// cache keeps a fresh cluster for the tests of this package: initdb is most of their time.
var cache = sync.OnceValues(func() (string, error) { return os.MkdirTemp(shortDir(), "postroom-pgserver-cache-") })

func TestMain(m *testing.M) {
	defer func() { // m.Run's code is the process's
		if dir, err := cache(); err == nil {
			_ = os.RemoveAll(dir)
		}
	}()
	m.Run()
}

func start(t *testing.T, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	needPostgres(t)
	if opts.Cache == "" && !opts.Durable {
		var err error
		if opts.Cache, err = cache(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := pgserver.Start(bounded(t), opts)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(bounded(t)); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return s
}

// ask runs one query that returns one text.
func ask(t *testing.T, url, sql string) string {
	t.Helper()
	ctx := bounded(t)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var got string
	if err := conn.QueryRow(ctx, sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func TestFind(t *testing.T) {
	needPostgres(t)
	dir, err := pgserver.Find()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil || !strings.Contains(string(out), "PostgreSQL") {
		t.Errorf("postgres of %s prints %q, %v", dir, out, err)
	}
}

func TestFindSaysWhatToInstall(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct{ name, script, want string }{
		{"nothing there", "", "none in"},
		{"a wrapper that fails", "#!/bin/sh\nexit 3\n", "exit status 3"},
		{"too old", "#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n", "is version 13"},
		{"no version", "#!/bin/sh\necho hello\n", "prints no version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "_"))
			if err := os.Mkdir(bin, 0o755); err != nil { // must be reached by PostgreSQL's user
				t.Fatal(err)
			}
			for _, program := range []string{"initdb", "postgres"} {
				if c.script == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(bin, program), []byte(c.script), 0o755); err != nil { // a program
					t.Fatal(err)
				}
			}
			t.Setenv(pgserver.EnvBin, bin)
			_, err := pgserver.Find()
			class, code, text, hint := fault.Describe(err)
			if class != fault.Permanent || code != "postgres_missing" || !strings.Contains(text, c.want) {
				t.Errorf("got %s %s %q, want permanent postgres_missing with %q", class, code, text, c.want)
			}
			if !strings.Contains(hint, "apt-get install postgresql") {
				t.Errorf("hint %q does not say what to install", hint)
			}
		})
	}
}

func TestStartDurableAndAgain(t *testing.T) {
	dir := folder(t)
	s := start(t, pgserver.Options{Dir: dir, Durable: true})
	for setting, want := range map[string]string{
		"fsync": "on", "full_page_writes": "on", "data_checksums": "on", "listen_addresses": "", "server_encoding": "UTF8",
		"log_min_error_statement": "panic", "unix_socket_permissions": "0700",
	} {
		if got := ask(t, s.URL(), "SHOW "+setting); got != want {
			t.Errorf("%s: got %q, want %q", setting, got, want)
		}
	}
	if got := ask(t, s.URL(), "SELECT current_user || ' ' || current_database() || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user"); got != "postroom postroom false" {
		t.Errorf("logged in as %q, want postroom postroom false", got)
	}
	if got := ask(t, s.URL(), "SELECT lower('ÄÉЖ')"); got != "äéж" {
		t.Errorf("lower: got %q, want äéж", got)
	}
	ask(t, s.URL(), "SELECT set_config('x.y', lo_from_bytea(4711, 'here')::text, false)")
	info, err := os.Stat(filepath.Join(dir, "run"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket folder: %v %v, want mode 0700", info.Mode(), err)
	}
	if err := s.Stop(bounded(t)); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	gone(t, s.Pid())
	again := start(t, pgserver.Options{Dir: dir, Durable: true})
	if got := ask(t, again.URL(), "SELECT convert_from(lo_get(4711), 'UTF8')"); got != "here" {
		t.Errorf("after a restart: got %q, want here", got)
	}
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	ctx := bounded(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-ctx.Done():
			t.Fatalf("process %d is still there", pid)
		case <-tick.C:
		}
	}
}

// alive reports whether a process runs; one that ended and was not waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !errors.Is(err, os.ErrNotExist)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestSecondStartIsRefused(t *testing.T) {
	dir := folder(t)
	start(t, pgserver.Options{Dir: dir})
	_, err := pgserver.Start(bounded(t), pgserver.Options{Dir: dir})
	class, code, text, _ := fault.Describe(err)
	if class != fault.Permanent || code != "folder_in_use" || !strings.Contains(text, strconv.Itoa(os.Getpid())) {
		t.Errorf("got %s %s %q, want permanent folder_in_use with our pid", class, code, text)
	}
}

func TestStartFails(t *testing.T) {
	needPostgres(t)
	t.Run("no folder", func(t *testing.T) {
		_, err := pgserver.Start(bounded(t), pgserver.Options{})
		if _, code, _, _ := fault.Describe(err); code != "folder_unusable" {
			t.Errorf("got %v, want folder_unusable", err)
		}
	})
	t.Run("with the server's own words", func(t *testing.T) {
		dir := folder(t)
		s := start(t, pgserver.Options{Dir: dir})
		if err := s.Stop(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "postgresql.auto.conf"), []byte("nonsense = 1\n"), 0o644); err != nil { // read by PostgreSQL's user
			t.Fatal(err)
		}
		_, err := pgserver.Start(bounded(t), pgserver.Options{Dir: dir})
		if _, code, text, _ := fault.Describe(err); code != "postgres_failed" || !strings.Contains(text, "nonsense") {
			t.Errorf("got %s %q, want postgres_failed that names the setting", code, text)
		}
	})
	t.Run("data of another version", func(t *testing.T) {
		dir := folder(t)
		if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := pgserver.Start(bounded(t), pgserver.Options{Dir: dir})
		if _, code, text, _ := fault.Describe(err); code != "postgres_version" || !strings.Contains(text, "of PostgreSQL 9") {
			t.Errorf("got %s %q, want postgres_version", code, text)
		}
	})
	t.Run("a folder that its user may not enter", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root starts it as another user")
		}
		dir := folder(t)
		if err := os.Chmod(dir, 0o700); err != nil { // a folder needs its x
			t.Fatal(err)
		}
		_, err := pgserver.Start(bounded(t), pgserver.Options{Dir: filepath.Join(dir, "db")})
		if _, code, _, hint := fault.Describe(err); code != "folder_closed" || !strings.Contains(hint, "chmod o+x "+dir+"`") {
			t.Errorf("got %v, hint %q, want folder_closed and the folder in the hint", err, hint)
		}
	})
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		dir := folder(t)
		if _, err := pgserver.Start(ctx, pgserver.Options{Dir: dir}); err == nil {
			t.Error("got no error")
		}
		start(t, pgserver.Options{Dir: dir}) // nothing half made is in the way
	})
}

func TestHalfMadeClusterIsMadeAnew(t *testing.T) {
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data.new", "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, pgserver.Options{Dir: dir})
	if got := ask(t, s.URL(), "SELECT 'ok'"); got != "ok" {
		t.Errorf("got %q", got)
	}
}

func TestLongFolderHasItsSocketElsewhere(t *testing.T) {
	dir := filepath.Join(folder(t), strings.Repeat("long", 20), strings.Repeat("name", 10))
	s := start(t, pgserver.Options{Dir: dir})
	if got := ask(t, s.URL(), "SELECT 'ok'"); got != "ok" {
		t.Errorf("got %q", got)
	}
	sockets := ask(t, s.URLOf(pgserver.Admin, "postgres"), "SHOW unix_socket_directories")
	info, err := os.Stat(sockets)
	if err != nil || info.Mode().Perm() != 0o700 || strings.HasPrefix(sockets, dir) {
		t.Fatalf("sockets in %s: %v, want a short folder of mode 0700", sockets, err)
	}
	if err := s.Stop(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(sockets); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left over: %v", sockets, err)
	}
}

func TestCacheAndRemove(t *testing.T) {
	kept := folder(t)
	for range 2 { // the second one copies
		dir := folder(t)
		s := start(t, pgserver.Options{Dir: dir, Cache: kept, Remove: true})
		if got := ask(t, s.URL(), "SHOW fsync"); got != "off" {
			t.Errorf("fsync: got %q, want off", got)
		}
		if err := s.Stop(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left over: %v", dir, err)
		}
	}
	clusters, err := filepath.Glob(filepath.Join(kept, "*"))
	if err != nil || len(clusters) != 1 {
		t.Errorf("the cache holds %v, %v, want one cluster", clusters, err)
	}
}

func TestServerThatDiesIsSeen(t *testing.T) {
	s := start(t, pgserver.Options{Dir: folder(t)})
	if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Exited():
	case <-time.After(limit):
		t.Fatal("Exited was not closed")
	}
	dead, url := s.Pid(), s.URL()
	if err := s.Restart(bounded(t)); err != nil {
		t.Fatalf("Restart: %v", err)
	}
	if s.Pid() == dead || s.URL() != url {
		t.Errorf("after Restart: pid %d, URL %s, want another pid than %d and the URL %s", s.Pid(), s.URL(), dead, url)
	}
	if got := ask(t, url, "SELECT 'ok'"); got != "ok" {
		t.Errorf("got %q", got)
	}
	if err := syscall.Kill(s.Pid(), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-s.Exited()
	if err := s.Stop(bounded(t)); err != nil {
		t.Errorf("Stop of one that ended by itself: %v", err)
	}
}

func TestStopWithEndedContextStillEnds(t *testing.T) {
	dir := folder(t)
	s := start(t, pgserver.Options{Dir: dir, Durable: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
	gone(t, s.Pid())
}

// helper runs this test binary again as a process that starts a server and waits to be killed.
const helperEnv = "POSTROOM_TEST_PGSERVER_DIR"

func TestHelperProcess(t *testing.T) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		t.Skip("only as a child of TestKilledOwner")
	}
	s, err := pgserver.Start(t.Context(), pgserver.Options{
		Dir: dir, Cache: os.Getenv(helperEnv + "_CACHE"), Remove: os.Getenv(helperEnv+"_REMOVE") != "",
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintln(os.Stdout, "pid", s.Pid()) // to our parent, who sees it or kills us
	select {}                                      // killed
}

func startHelper(t *testing.T, dir string, env ...string) (helper *exec.Cmd, server int) {
	t.Helper()
	needPostgres(t)
	helper = exec.CommandContext(bounded(t), os.Args[0], "-test.run=^TestHelperProcess$")
	kept, err := cache()
	if err != nil {
		t.Fatal(err)
	}
	helper.Env = append(append(os.Environ(), helperEnv+"="+dir, helperEnv+"_CACHE="+kept), env...)
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = helper.Process.Kill(); _ = helper.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			if server, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
			return helper, server
		}
	}
	t.Fatalf("helper ended without a server: %v", lines.Err())
	return nil, 0
}

func kill(t *testing.T, helper *exec.Cmd) {
	t.Helper()
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait() // killed
}

func TestKilledOwner(t *testing.T) {
	t.Run("takes its server along", func(t *testing.T) {
		helper, server := startHelper(t, folder(t))
		kill(t, helper)
		gone(t, server)
	})
	t.Run("and its folder, if asked", func(t *testing.T) {
		dir := folder(t)
		helper, server := startHelper(t, dir, helperEnv+"_REMOVE=1")
		kill(t, helper)
		gone(t, server)
		ctx := bounded(t)
		for {
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s is left over", dir)
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	t.Run("and the next start does not wait for it", func(t *testing.T) {
		dir := folder(t)
		helper, server := startHelper(t, dir)
		kill(t, helper)
		s := start(t, pgserver.Options{Dir: dir})
		if alive(server) {
			t.Errorf("the old server %d still runs", server)
		}
		if got := ask(t, s.URL(), "SELECT 'ok'"); got != "ok" {
			t.Errorf("got %q", got)
		}
	})
}
