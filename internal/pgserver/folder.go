package pgserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// What a folder holds.
const (
	dataName   = "data"     // the cluster (PGDATA)
	newName    = "data.new" // one that is being made
	socketName = "run"      // the socket
	lockName   = "postroom.lock"
)

// socketOctets is how long a socket's name may be on every system (sun_path: 104 on BSD, 108 on Linux, with a NUL).
const socketOctets = 103

// lockEvery is how often a lock that another process holds is tried again.
const lockEvery = 50 * time.Millisecond

func unusable(err error) error {
	hint := "Choose a folder that Postroom may write to."
	if path, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, fs.ErrPermission) {
		hint = "Run this as the daemon's user: sudo -u " + daemonUser(path.Path) + " postroom …; or choose a folder that you may write to."
	}
	return fault.New(fault.Permanent, "folder_unusable", hint, fmt.Errorf("database folder: %w", err))
}

// daemonUser returns the name of who owns the innermost of name and its parents that can be seen, if that may be a
// daemon's user; else what that user is called by default.
func daemonUser(name string) string {
	for ; name != filepath.Dir(name); name = filepath.Dir(name) {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			if u, err := user.LookupId(strconv.Itoa(int(st.Uid))); err == nil {
				return u.Username
			}
		}
		break
	}
	return Role
}

// prepareDir makes dir if needed and returns its real, absolute name. As root it stays root's and only its parts
// are given away, so that PostgreSQL's user cannot lead us elsewhere by a link.
func prepareDir(dir string, who *identity) (string, error) {
	if dir == "" {
		return "", fault.New(fault.Permanent, "folder_unusable", "Name a folder.", errors.New("no database folder was named"))
	}
	mode := os.FileMode(0o700)
	if who != nil {
		mode = 0o711
	}
	_, missing := os.Stat(dir)
	if err := os.MkdirAll(dir, mode); err != nil {
		return "", unusable(err)
	}
	if errors.Is(missing, os.ErrNotExist) { // made by root: its user is to find it his
		if err := own(who, dir); err != nil {
			return "", err
		}
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", unusable(err)
	}
	return abs, who.mayPass(abs)
}

// lockDir takes dir for this process. The lock goes with the process, however it ends. A lock that root makes belongs
// to who, so that a daemon which runs as that user can take it later.
func lockDir(dir string, who *identity) (*os.File, error) {
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	switch {
	case err == nil && who != nil:
		err = f.Chown(int(who.uid), int(who.gid))
	case errors.Is(err, os.ErrExist):
		f, err = os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		return nil, unusable(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 16)
		n, _ := f.ReadAt(holder, 0) // may be short: it is only for the message
		pid := string(bytes.TrimSpace(holder[:n]))
		if pid != "" { // it has only just taken the lock
			pid = " (pid " + pid + ")"
		}
		return nil, errors.Join(fault.New(fault.Permanent, codeInUse,
			"A command: wait until the other process has ended, then run it again. A daemon: stop the other one, or give this one a data_dir or database.url of its own.",
			fmt.Errorf("another process%s uses the database folder %s", pid, dir)), f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(unusable(err), f.Close())
	}
	return f, nil
}

const codeInUse = "folder_in_use"

// waitLock is lockDir that waits for another process to end, unless instead, if not nil, says that
// there is no need any more.
func waitLock(ctx context.Context, dir string, who *identity, wait time.Duration, instead func() bool) (*os.File, error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for {
		f, err := lockDir(dir, who)
		if _, code, _, _ := fault.Describe(err); code != codeInUse || wait <= 0 {
			return f, err
		}
		if instead != nil && instead() {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-late.C:
			return nil, err
		case <-tick.C:
		}
	}
}

// socketDir returns a folder of mode 0700 for the socket: in dir, or apart from it where the name would be too long.
func socketDir(dir string, who *identity) (name string, private bool, err error) {
	name = filepath.Join(dir, socketName)
	if len(name)+len("/.s.PGSQL.5432") <= socketOctets {
		if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", false, unusable(err)
		}
		if err := os.Chmod(name, 0o700); err != nil { //nolint:gosec // a folder needs its x
			return "", false, unusable(err)
		}
		return name, false, own(who, name)
	}
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if name, err = os.MkdirTemp(parent, "postroom-pg-"); err != nil {
			continue
		}
		if len(name)+len("/.s.PGSQL.5432") <= socketOctets {
			return name, true, errors.Join(who.mayPass(parent), own(who, name))
		}
		_ = os.Remove(name) // empty, and ours
	}
	return "", false, unusable(fmt.Errorf("the name of %s is too long for a socket, and no short temporary folder was found: %w", dir, err))
}

func own(who *identity, name string) error {
	if err := who.own(name); err != nil {
		return unusable(err)
	}
	return nil
}

// ensureCluster makes a cluster in dir if there is none: under another name, then renamed, so that a crash in between
// leaves nothing half made.
func ensureCluster(ctx context.Context, bin binaries, dir string, who *identity, opts Options) error {
	data, fresh := filepath.Join(dir, dataName), filepath.Join(dir, newName)
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return who.adopt(data)
	}
	waitGone(ctx, fresh, staleFast) // an initdb whose Postroom was killed
	if err := os.RemoveAll(fresh); err != nil {
		return unusable(err)
	}
	cached := cacheName(bin, opts)
	if cached == "" || !copyCache(ctx, cached, fresh, who) {
		if err := initCluster(ctx, bin, fresh, who, opts.Durable); err != nil {
			return err
		}
		if cached != "" {
			fillCache(ctx, fresh, cached)
		}
	}
	if err := os.Rename(fresh, data); err != nil { // fails if data is there and not empty
		return unusable(err)
	}
	if !opts.Durable {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return unusable(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return unusable(err)
	}
	return nil
}

// initCluster runs initdb, and makes Role and Database. Case is folded by Unicode's rules, order is by octets: neither
// changes with the system's libraries.
func initCluster(ctx context.Context, bin binaries, fresh string, who *identity, durable bool) error {
	args := []string{"-D", fresh, "-U", Admin, "--auth-local=trust", "--auth-host=reject", "-E", "UTF8"}
	if durable {
		args = append(args, "--data-checksums")
	} else {
		args = append(args, "--no-sync", "--wal-segsize=4")
	}
	locales := [][]string{{"--locale=C", "--lc-ctype=C.UTF-8"}, {"--locale=C", "--lc-ctype=C.utf8"}, {"--locale=C"}}
	if bin.major >= 17 {
		locales = append([][]string{{"--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"}}, locales...)
	}
	var err error
	for _, locale := range locales {
		if err = os.RemoveAll(fresh); err != nil {
			return unusable(err)
		}
		if err = os.Mkdir(fresh, 0o700); err != nil {
			return unusable(err)
		}
		if err = own(who, fresh); err != nil {
			return err
		}
		if err = tool(ctx, bin, who, fresh, "", "initdb", append(args, locale...)...); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	sql := "CREATE ROLE " + Role + " LOGIN;\nCREATE DATABASE " + Database + " OWNER " + Role + ";\n"
	single := []string{"--single", "-D", fresh, "-c", "exit_on_error=true"}
	if !durable {
		single = append(single, "-c", "fsync=off")
	}
	return tool(ctx, bin, who, fresh, sql, "postgres", append(single, "postgres")...)
}

// tool runs a program to its end. Its error holds the end of what it printed.
func tool(ctx context.Context, bin binaries, who *identity, dir, stdin, name string, args ...string) error {
	printed := newTail(nil)
	cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, name), args...)
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = printed, printed
	cmd.SysProcAttr = who.attributes()
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fault.New(fault.Permanent, "initdb_failed", "Read the program's own message and mend what it names.",
			fmt.Errorf("%s: %w: %s", name, err, printed.text()))
	}
	return nil
}

// cacheName returns where a fresh cluster of these programs is kept, or "".
func cacheName(bin binaries, opts Options) string {
	if opts.Cache == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "1 %s %s %t", bin.dir, bin.version, opts.Durable))
	return filepath.Join(opts.Cache, "cluster-"+hex.EncodeToString(sum[:6]))
}

// copyCache copies a kept cluster; false: there is none, or it cannot be used.
func copyCache(ctx context.Context, cached, fresh string, who *identity) bool {
	info, err := os.Lstat(cached)
	if err != nil || !info.IsDir() {
		return false
	}
	return exec.CommandContext(ctx, "cp", "-a", cached, fresh).Run() == nil && who.own(fresh) == nil
}

// fillCache keeps a copy of a fresh cluster. Whatever fails: the next Start runs initdb.
func fillCache(ctx context.Context, fresh, cached string) {
	olds, _ := filepath.Glob(filepath.Join(filepath.Dir(cached), "part-*")) // of processes that were killed
	for _, old := range olds {
		if info, err := os.Stat(old); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(old)
		}
	}
	part, err := os.MkdirTemp(filepath.Dir(cached), "part-")
	if err != nil {
		return
	}
	defer func() { _ = os.RemoveAll(part) }()
	copied := filepath.Join(part, dataName)
	if exec.CommandContext(ctx, "cp", "-a", fresh, copied).Run() == nil {
		_ = os.Rename(copied, cached) // another one was faster: as good as ours
	}
}
