package canary

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// The files of the local cloud's run folder that hold its own secrets, by exact name. Everything else in it is swept like any file:
// the database of journal, state and ledger, the agent's environment file, the encrypted keys, the addresses.
const (
	runFile       = "cloud.json"            // management token, while it runs
	stateFile     = "cloud.jsonl"           // passwords of its test users and client secrets of its applications
	operatorsFile = "operators.json"        // passwords of its test users
	operatorFile  = "sp-operator.pem"       // key of the test application
	signingFile   = "token-signing-key.pem" // key that signs its tokens
	authorityFile = "ca-key.pem"            // key of its certificate authority
	keysFolder    = "keys"                  // the agents' keys, encrypted
	identityFile  = "keys/identity.txt"     // age identity of development grade
)

// RunFolder excuses the files of a run folder that may hold the local cloud's own secrets. folder is its path below the swept folder,
// with slashes; "" is the swept folder itself.
func RunFolder(story, folder string) []Excuse {
	var all []Excuse
	for _, f := range []string{runFile, stateFile, operatorsFile, operatorFile, signingFile, authorityFile, identityFile} {
		all = append(all, Excuse{story, path.Join(folder, f), ForRunFolder})
	}
	return all
}

// RunFolder watches for the secrets of the local cloud in dir, and for the keys of agents in its keystore; it tells how many of these
// there are. Read it again after a key was made or the cloud was reset; what was known before stays known.
func (w *Watch) RunFolder(dir string) (agentKeys int, err error) {
	for _, name := range []string{operatorFile, signingFile, authorityFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if name == signingFile && errors.Is(err, fs.ErrNotExist) {
			continue // a cloud that keeps nothing over restarts has it in memory
		}
		if err == nil {
			err = w.KeyPEM(LocalCloud, name, text)
		}
		if err != nil {
			return 0, err
		}
	}
	if err := w.operators(dir); err != nil {
		return 0, err
	}
	if err := w.management(dir); err != nil {
		return 0, err
	}
	n, err := w.AgeStore(PrivateKey, filepath.Join(dir, keysFolder), filepath.Join(dir, filepath.FromSlash(identityFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // no key was ever made
	}
	return n, err
}

func (w *Watch) operators(dir string) error {
	var f struct {
		Operators []struct{ Name, Password string }
	}
	if err := readJSON(filepath.Join(dir, operatorsFile), &f); err != nil {
		return err
	}
	known := 0
	for _, o := range f.Operators {
		if o.Password == "" {
			continue
		}
		if err := w.Text(LocalCloud, "password of "+o.Name, []byte(o.Password)); err != nil {
			return err
		}
		known++
	}
	if known == 0 {
		return fmt.Errorf("%s names no password: it has another form than this package knows", operatorsFile)
	}
	return nil
}

// management learns the token of a running cloud.
func (w *Watch) management(dir string) error {
	var f struct {
		Token string `json:"management_token"`
	}
	err := readJSON(filepath.Join(dir, runFile), &f)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it does not run
	}
	if err != nil {
		return err
	}
	return w.Text(LocalCloud, "the management token", []byte(f.Token))
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
