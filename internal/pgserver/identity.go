package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/postroom/postroom/internal/fault"
)

const nobody = 65534 // where no such user is listed

// identity is the user that the programs run as; nil: the one that we are.
type identity struct {
	uid, gid uint32
	name     string
}

// runAs returns whom to run the programs as. Only root needs another one: the owner of the cluster that is already in
// dir, else the users postroom, postgres and nobody, the first that exists.
func runAs(dir string) (*identity, error) {
	if os.Geteuid() != 0 {
		return nil, nil // nil is the identity that we have
	}
	if info, err := os.Stat(filepath.Join(dir, dataName)); err == nil && dir != "" {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return &identity{uid: st.Uid, gid: st.Gid, name: "uid " + strconv.Itoa(int(st.Uid))}, nil
		}
	}
	for _, name := range []string{"postroom", "postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fault.New(fault.Permanent, "user_unusable", "", fmt.Errorf("look up user %s: %w", name, err))
		}
		if uid != 0 {
			return &identity{uid: uint32(uid), gid: uint32(gid), name: name}, nil
		}
	}
	return &identity{uid: nobody, gid: nobody, name: "nobody"}, nil
}

// attributes returns how a program is started: as that user, and in a process group of its own, so that Ctrl-C at the
// terminal reaches us and not it.
func (id *identity) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if id != nil {
		a.Credential = &syscall.Credential{Uid: id.uid, Gid: id.gid}
	}
	return a
}

// own gives a tree to the user.
func (id *identity) own(root string) error {
	if id == nil {
		return nil
	}
	return filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, int(id.uid), int(id.gid)) //nolint:gosec // never follows a link, and the tree is root's until now
	})
}

// adopt gives a cluster to the user if it is root's, as after a restore from a backup.
func (id *identity) adopt(data string) error {
	if id == nil {
		return nil
	}
	info, err := os.Stat(data)
	if err != nil {
		return unusable(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == id.uid {
		return nil
	}
	return own(id, data)
}

// mayPass checks that the user can walk to dir: PostgreSQL's own message would name neither the folder nor the user.
func (id *identity) mayPass(dir string) error {
	if id == nil {
		return nil
	}
	for parent := dir; ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return unusable(err)
		}
		if !id.mayEnter(info) {
			return fault.New(fault.Permanent, "folder_closed",
				fmt.Sprintf("Run `chmod o+x %s`, or choose a folder elsewhere, such as /var/lib/postroom.", parent),
				fmt.Errorf("PostgreSQL runs as %s, who may not enter %s on the way to %s", id.name, parent, dir))
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

func (id *identity) mayEnter(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case st.Uid == id.uid:
		return info.Mode()&0o100 != 0
	case st.Gid == id.gid:
		return info.Mode()&0o010 != 0
	}
	return info.Mode()&0o001 != 0
}
