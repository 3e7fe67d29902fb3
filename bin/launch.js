'use strict';
// Plain old JavaScript: a Node that is too old for the product must still be able to read this file and say so.

var fs = require('fs');
var os = require('os');
var path = require('path');
var url = require('url');

/** Sources are TypeScript and stay as they are: Node 24. The published build is lowered to Node 22. */
var ROOT = path.join(__dirname, '..');
var SOURCE = path.join(ROOT, 'src', 'app', 'main.ts');
var BUILD = path.join(ROOT, 'dist', 'app', 'main.js');
var IN_CLONE = fs.existsSync(SOURCE);
var NODE_MIN = IN_CLONE ? [24, 0] : [22, 21];
var SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

/** Runs a command of the package: in this process when its Node is new enough, else in the one the package brings. */
module.exports = function launch(program) {
  if (isNewEnough()) return run(program);
  var newer = bundledNode();
  if (newer !== undefined) return runWith(newer);
  process.stderr.write(
    program +
      ' needs Node ' +
      NODE_MIN.join('.') +
      ' or newer, this is ' +
      process.version +
      '. Install one from https://nodejs.org, or ' +
      remedy(program) +
      '\n',
  );
  process.exitCode = 1;
};

function isNewEnough() {
  var version = process.versions.node.split('.').map(Number);
  return version[0] > NODE_MIN[0] || (version[0] === NODE_MIN[0] && version[1] >= NODE_MIN[1]);
}

function remedy(program) {
  if (IN_CLONE) return 'run scripts/setup, which brings one.';
  return 'let npx bring one: npx -y -p node@24 -p ' + require('../package.json').name + ' ' + program;
}

function run(program) {
  keepCompiled();
  quietSqlite();
  import(url.pathToFileURL(IN_CLONE ? sourceOrBundle() : BUILD).href)
    .then(function (module) {
      return module.main(program);
    })
    .catch(function (error) {
      process.stderr.write(String((error && error.stack) || error) + '\n');
      process.exitCode = 70;
    });
}

/** Loading one bundle instead of hundreds of modules saves most of the time of a short command. Coverage counts the sources. */
function sourceOrBundle() {
  if (process.env.NODE_V8_COVERAGE) return SOURCE;
  return require('./fresh-bundle.js').freshBundle(ROOT) || SOURCE;
}

/** Node 22 warns of its SQLite at every start. It is the one we rely on, and standard error is read by agents. */
function quietSqlite() {
  var emitWarning = process.emitWarning;
  process.emitWarning = function (warning) {
    if (String(warning).indexOf('SQLite is an experimental feature') !== 0) emitWarning.apply(process, arguments);
  };
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
