package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// buildDir holds the binaries of this run.
var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "postroom-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // a TestMain ends so
	}
	buildDir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code) //nolint:forbidigo // a TestMain ends so
}

// builds are the two binaries, each made when it is first asked for.
var builds = map[bool]func() (string, error){
	false: sync.OnceValues(func() (string, error) { return build(false) }),
	true:  sync.OnceValues(func() (string, error) { return build(true) }),
}

func build(race bool) (string, error) {
	path := filepath.Join(buildDir, fmt.Sprintf("postroom-race-%t", race))
	args := []string{"build", "-o", path}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/postroom/postroom/cmd/postroom")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binary: %w: %s", err, out)
	}
	return path, nil
}

// binary returns the program under test.
func binary(t *testing.T, race bool) string {
	t.Helper()
	path, err := builds[race]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
