package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/viper"

	"github.com/postroom/postroom/internal/spelling"
)

// maxFileOctets is the longest file that is read.
const maxFileOctets = 1 << 20

// envPrefix begins the name of every environment variable that sets a key: database.url is POSTROOM_DATABASE_URL.
const envPrefix = "POSTROOM_"

// otherNames returns the names with our prefix that are read elsewhere.
func otherNames() []string {
	return []string{
		"POSTROOM_CONFIG", // path of the file, read by the commands
		"POSTROOM_CORPUS", // sample mail for tests
		"POSTROOM_PG_BIN", // where initdb and postgres are
		"POSTROOM_SOAK",   // how long crash tests run
	}
}

// Load reads the file at path ("": none) and the environment ("NAME=value"), which wins over the file. An environment
// variable that is empty counts as not set.
//
// Faults come all at once as *Error. Warnings are sentences about what is allowed and unwise; they hold no secret.
func Load(path string, environ []string) (*Config, []string, error) {
	var found faults
	c := Default()
	c.origins = make(map[string]string)
	v := viper.New()

	lines := map[string]int{}
	if path != "" {
		octets, err := readFile(path, &found)
		if err != nil {
			return nil, nil, err
		}
		var content map[string]any
		lines, content = readKeys(path, octets, &found)
		for key, line := range lines {
			c.origins[key] = fmt.Sprintf("%s:%d", path, line)
		}
		if err := v.MergeConfigMap(content); err != nil {
			found.add(Fault{Where: path, Problem: "cannot be read as YAML", Mend: "see configs/postroom.yaml for the form"})
		}
	}
	readEnv(v, c, environ, &found)
	for _, l := range leaves(c) {
		if !found.met(l.key) {
			decode(v, l, c.origins[l.key], lines[l.key], &found)
		}
	}
	validate(c, lines, &found)
	if err := found.err(); err != nil {
		return nil, found.warnings, err
	}
	return c, append(found.warnings, c.secretWarnings()...), nil
}

func readFile(path string, found *faults) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		problem := "cannot be opened"
		switch {
		case errors.Is(err, os.ErrNotExist):
			problem = "does not exist"
		case errors.Is(err, os.ErrPermission):
			problem = "may not be read by this user"
		}
		return nil, &Error{Faults: []Fault{{Where: path, Problem: problem, Mend: "name the file with --config or $POSTROOM_CONFIG"}}}
	}
	defer f.Close() //nolint:errcheck // only read
	octets, err := io.ReadAll(io.LimitReader(f, maxFileOctets+1))
	if err != nil {
		return nil, &Error{Faults: []Fault{{Where: path, Problem: "cannot be read", Mend: "name a file, not a directory"}}}
	}
	if len(octets) > maxFileOctets {
		return nil, &Error{Faults: []Fault{{Where: path, Problem: "is longer than 1 MiB", Mend: "name the configuration file"}}}
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o022 != 0 {
		found.warn("%s can be changed by other users: chmod go-w %s", path, path)
	}
	return octets, nil
}

// readEnv puts the values of environ over those of the file.
func readEnv(v *viper.Viper, c *Config, environ []string, found *faults) {
	keys := map[string]string{} // environment name → key
	for _, l := range leaves(c) {
		keys[l.env] = l.key
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if name == "CREDENTIALS_DIRECTORY" {
			c.credentialsDir = value
		}
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(otherNames(), name) {
			continue
		}
		key, known := keys[name]
		if !known {
			mend := "unset it"
			if near := spelling.Nearest(name, slices.Collect(maps.Keys(keys))); near != "" {
				mend = "did you mean " + near + "? Otherwise unset it"
			}
			found.add(Fault{Where: "$" + name, Problem: "no key has this name", Mend: mend})
			continue
		}
		if value != "" {
			v.Set(key, envString(value))
			c.origins[key] = "$" + name
		}
	}
}

// leaf is one key: a field that is not a section.
type leaf struct {
	key   string
	env   string
	value reflect.Value
}

// leaves returns the keys of c in the order of its fields.
func leaves(c *Config) []leaf {
	var list []leaf
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for field, value := range v.Fields() {
			tag := field.Tag.Get("mapstructure")
			switch {
			case tag == "":
			case value.Kind() == reflect.Struct:
				walk(prefix+tag+".", value)
			default:
				key := prefix + tag
				env := envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
				list = append(list, leaf{key: key, env: env, value: value})
			}
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return list
}
