package app

// preflightHost is this machine, as the checks ask about it.
type preflightHost struct {
	app *App
	p   *place
}
