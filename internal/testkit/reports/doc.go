// Package reports lets programs that nobody here wrote read the preflight's reports: Microsoft's validator of SARIF, which npm installs from
// the lock file in script/reports, and Debian's python3-junitparser. script/deps.sh installs what they need; without it the tests fail, unless
// ALLOW_MISSING=1.
package reports
