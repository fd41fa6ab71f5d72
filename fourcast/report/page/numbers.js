// Scores by name: variables along named dimensions.

let scores = null;

function hasScore(name) {
  return Boolean(scores && scores.variables[name]);
}

function along(dimension) {
  return scores.coordinates[dimension] || [];
}

// {at(places)}: the value at places along dimensions by name; what a variable does not run along is not looked at.
async function scoreOf(name) {
  const { pack, dims, shape } = scores.variables[name];
  const values = await floatsOf(pack);
  return {
    dims,
    at(places) {
      let index = 0;
      dims.forEach((dim, i) => {
        index = index * shape[i] + places[dim];
      });
      return values[index];
    },
  };
}

async function scoreOrNothing(name) {
  return hasScore(name) ? scoreOf(name) : { dims: [], at: () => NaN };
}

function unitsOf(metric, channel) {
  const units = scores.variables[metric] && scores.variables[metric].attributes.units;
  return units === "1"
    ? "1"
    : (along("units")[along("channel").indexOf(channel)] || "1") + (metric === "mse" ? " squared" : "");
}

const METRICS = {
  rmse: "RMSE: root mean square error",
  mae: "MAE: mean absolute error",
  bias: "Bias",
  acc: "ACC: anomaly correlation",
  crps: "CRPS (fair)",
  crps_standard: "CRPS (standard)",
  energy_score: "Energy score",
  spread: "Spread",
  spread_skill_ratio: "Spread / error of the mean",
  debiased_rmse: "RMSE of the mean, without sampling error",
  mse: "MSE",
  seeps: "SEEPS (precipitation)",
};

function metricText(name) {
  return METRICS[name] || spoken(name);
}

// Words of a metric's direction: what is better.
function betterIs(metric) {
  const attributes = (scores.variables[metric] || { attributes: {} }).attributes;
  return attributes.better || { acc: "high", bias: "zero", spread_skill_ratio: "one" }[metric] || "low";
}

function channelText(name) {
  const place = along("channel").indexOf(name);
  const known = spoken(along("long_name")[place] || "");
  return known ? `${name}: ${known}` : name;
}
