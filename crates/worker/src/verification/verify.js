console.log("this interpreter runs scripts");
