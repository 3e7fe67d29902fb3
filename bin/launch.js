'use strict';
// Plain old JavaScript: a Node that is too old for the product must still be able to read this file and say so.

var fs = require('fs');
var os = require('os');
var path = require('path');
var url = require('url');

var NODE_MAJOR_MIN = 24;
var SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

/** Runs a command of the package: in this process when its Node is new enough, else in the one the package brings. */
module.exports = function launch(program) {
  var major = Number(process.versions.node.split('.')[0]);
  if (major >= NODE_MAJOR_MIN) return run(program);
  var newer = bundledNode();
  if (newer !== undefined) return runWith(newer);
  process.stderr.write(
    program + ' needs Node ' + NODE_MAJOR_MIN + ' or newer, this is ' + process.version +
      '. Install it from https://nodejs.org, or run: npx -y node@' + NODE_MAJOR_MIN + ' ' + process.argv[1] + '\n',
  );
  process.exitCode = 1;
};

/** A clone runs its sources; the published package has only what was made of them. */
function run(program) {
  keepCompiled();
  var source = path.join(__dirname, '..', 'src', 'main.ts');
  var main = fs.existsSync(source) ? source : path.join(__dirname, '..', 'dist', 'main.js');
  import(url.pathToFileURL(main).href)
    .then(function (module) {
      return module.main(program);
    })
    .catch(function (error) {
      process.stderr.write(String((error && error.stack) || error) + '\n');
      process.exitCode = 70;
    });
}

/** Compiled code is kept between runs: most commands spend more time on reading their sources than on their work. */
function keepCompiled() {
  var home = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  if (!process.env.NODE_COMPILE_CACHE) require('module').enableCompileCache(path.join(home, 'contree', 'compiled'));
}

/** The Node that the `node` package installs beside us, if it is there and is not the one we run in. */
function bundledNode() {
  var binary;
  try {
    binary = require.resolve('node/bin/node');
  } catch (error) {
    return undefined;
  }
  return fs.realpathSync(binary) === fs.realpathSync(process.execPath) ? undefined : binary;
}

/** One process more, which is as if it were this one: same streams, same signals, same end. */
function runWith(node) {
  var child = require('child_process').spawn(node, process.argv.slice(1), { stdio: 'inherit' });
  Object.keys(SIGNALS).forEach(function (name) {
    // Ctrl-C reaches the child by itself, from the terminal; this process only has to wait for it.
    process.on(name, function () {
      if (name !== 'SIGINT') child.kill(name);
    });
  });
  child.on('error', function (error) {
    process.stderr.write('cannot start ' + node + ': ' + error.message + '\n');
    process.exitCode = 1;
  });
  child.on('exit', function (code, signal) {
    process.exitCode = code === null ? 128 + (SIGNALS[signal] || 9) : code;
  });
}
