// Package apply makes the records of the database what files say: email server profiles, users, queues and mailboxes.
//
// Load reads the files strictly and names everything that is wrong at once. NewPlan compares them with the database and
// says what would change. Execute does exactly that in one transaction, or nothing.
//
// Invariants: applying the same files twice changes nothing the second time; a record that no file names is left alone;
// a key that is left out means its default, but for enabled and the plus-address token, which then stay as they are; no
// secret reaches the database, a plan, an error or a log: passwords stand by reference, tokens as their sha256.
package apply

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// Limits of what is read.
const (
	fileOctets  = 16 << 20
	tokenOctets = 4 << 10
	tokenLeast  = 22 // characters of a plus-address token: 22 of base64 are 128 bits
)

// Desired is what files say. It is made by Load and not changed.
type Desired struct {
	profiles  []wantProfile
	users     []wantUser
	queues    []wantQueue
	mailboxes []wantMailbox
}

type wantProfile struct {
	at      place
	profile mailbox.Profile
}

type wantUser struct {
	at            place
	name, address string
}

type wantQueue struct {
	at                   place
	name, address, owner string
	ownerAt              place
}

// wantMailbox is a mailbox with its profile, user and queue by name.
type wantMailbox struct {
	at          place
	keys        map[string]place
	mailbox     mailbox.Mailbox
	profile     string
	user, queue string
	hasEnabled  bool
	hasToken    bool
}

// where returns where a key stands, or the mailbox when it is left out.
func (w *wantMailbox) where(key string) place {
	if at, ok := w.keys[key]; ok {
		return at
	}
	return w.at
}

// Load reads files, and of folders every *.yaml and *.yml in them, and returns what they say. A file may hold several
// documents, and records may refer to those of other files and of the database.
//
// The error holds RecordsError with everything that is wrong in the files themselves (class Permanent, code
// records_invalid), or says which file cannot be read (code records_unreadable).
func Load(paths []string) (*Desired, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}
	d, problems := &Desired{}, RecordsError{}
	for _, file := range files {
		octets, err := readFile(file, fileOctets)
		if err != nil {
			return nil, unreadable(err)
		}
		d.decode(file, octets, &problems)
	}
	d.checkNames(&problems)
	if len(problems) == 0 {
		d.checkClaims(&problems)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return d, nil
}

func unreadable(err error) error {
	return fault.New(fault.Permanent, "records_unreadable", "name a file, or a folder that holds *.yaml files, that this user may read", err)
}

// expand returns the files that paths name, each once.
func expand(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, unreadable(err)
		}
		if !info.IsDir() {
			files = append(files, filepath.Clean(path))
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, unreadable(err)
		}
		for _, e := range entries { // by name
			if ext := filepath.Ext(e.Name()); (ext == ".yaml" || ext == ".yml") && e.Type()&fs.ModeDir == 0 {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	slices.Sort(files)
	if files = slices.Compact(files); len(files) == 0 {
		return nil, unreadable(errors.New("no *.yaml file is named"))
	}
	return files, nil
}

// readFile reads a file of at most limit octets.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	octets, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(octets)) > limit {
		err = fmt.Errorf("%s is longer than %s", name, sizeText(limit))
	}
	return octets, err
}

// decode adds what the documents of one file say.
func (d *Desired) decode(file string, octets []byte, problems *RecordsError) {
	decoder := yaml.NewDecoder(bytes.NewReader(octets))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, text := syntaxError(err)
			problems.add(place{file: file, line: line}, "mend it: nothing after it was read", "is not YAML: %s", text)
			return
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
			continue
		}
		root := value{problems: problems, at: place{file: file, line: doc.Content[0].Line}, node: doc.Content[0]}
		if root.null() {
			continue
		}
		root.mapping(keys{
			"profiles":  func(v value) { v.list(d.profile) },
			"users":     func(v value) { v.list(d.user) },
			"queues":    func(v value) { v.list(d.queue) },
			"mailboxes": func(v value) { v.list(func(v value) { d.mailbox(v, wantMailbox{}) }) },
		})
	}
}

// syntaxError returns the line and what the parser says, without anything that stands in the file: a password that
// begins with * is an unknown anchor to it.
func syntaxError(err error) (line int, text string) {
	text = err.Error()
	if m := regexp.MustCompile(`line (\d+): (.*)`).FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits
		text = m[2]
	}
	return line, regexp.MustCompile(`['"].*['"]`).ReplaceAllString(text, "…")
}
