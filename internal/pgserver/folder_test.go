package pgserver

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/fault"
)

// Another user than the daemon's is told to be that one, and not to choose another folder alone.
func TestAForbiddenFolderNamesTheDaemonsUser(t *testing.T) {
	dir := testFolder(t)
	name := filepath.Join(dir, "postgresql", lockName)
	hintOf := func(err error) string {
		_, code, _, hint := fault.Describe(unusable(&fs.PathError{Op: "open", Path: name, Err: err}))
		if code != "folder_unusable" {
			t.Errorf("got code %s, want folder_unusable", code)
		}
		return hint
	}
	if got := hintOf(fs.ErrPermission); !strings.Contains(got, "sudo -u "+Role+" postroom") {
		t.Errorf("got %q, want the default user in it", got)
	}
	if got := hintOf(fs.ErrExist); strings.Contains(got, "sudo") {
		t.Errorf("of another fault: got %q, want nothing of users", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root gives folders away")
	}
	who, err := runAs("")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(dir, int(who.uid), int(who.gid)); err != nil {
		t.Fatal(err)
	}
	if got := hintOf(fs.ErrPermission); !strings.Contains(got, "sudo -u "+who.name+" postroom") {
		t.Errorf("got %q, want the folder's owner %s in it", got, who.name)
	}
}

// Who has only just taken the lock has not written its pid yet.
func TestALockWithoutAPidIsNamedWithoutOne(t *testing.T) {
	dir := testFolder(t)
	f, err := lockDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	_, err = lockDir(dir, nil)
	if _, code, text, hint := fault.Describe(err); code != codeInUse || strings.Contains(text, "pid") || !strings.Contains(hint, "A command:") || !strings.Contains(hint, "A daemon:") {
		t.Errorf("got %s %q, hint %q; want %s without a pid, and what to do", code, text, hint, codeInUse)
	}
}

func TestWaitLockTakesItWhenItIsFree(t *testing.T) {
	dir := testFolder(t)
	held, err := lockDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	looks := 0
	got, err := waitLock(t.Context(), dir, nil, DefaultWait, func() bool {
		if looks++; looks == 2 { // it was tried at least twice
			if err := held.Close(); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	if err != nil || looks < 2 {
		t.Fatalf("got %v after %d looks, want the lock", err, looks)
	}
	defer func() { _ = got.Close() }()
	looks = 0
	if _, err := waitLock(t.Context(), dir, nil, DefaultWait, func() bool { looks++; return true }); err == nil || looks != 1 {
		t.Errorf("with no need any more: got %v after %d looks, want an error after one", err, looks)
	}
	if _, err := waitLock(t.Context(), dir, nil, lockEvery, nil); err == nil {
		t.Error("of a lock that stays: got no error")
	}
}
